#include "common/checkpoint/shards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/memory_file_system.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/checkpoint/checkpoint_writer.h"
#include "tests/unit/checkpoint/fixtures.h"

namespace dtrpo::checkpoint {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class ShardsTest : public testing::Test {
 protected:
  // Four tensors of 12 bytes and one of 24 between them.
  ShardsTest() {
    for (const char* name : {"a", "b", "large", "c", "d"}) {
      const bool large = std::string(name) == "large";
      views_.push_back(FloatView(name, {large ? 6 : 3}, data_));
      views_.back().data = views_.back().data.subspan(0, large ? 24 : 12);
    }
    Put(&files_, "m/config.json", FastDllmConfig().dump());
    Put(&files_, "m/added_tokens.json", R"({"|<MASK>|": 95})");
  }

  std::vector<std::vector<std::string>> Split(int64_t max_shard_bytes) const {
    std::vector<std::vector<std::string>> names;
    for (const Shard& shard : SplitIntoShards(views_, max_shard_bytes)) {
      names.emplace_back();
      for (const TensorView& tensor : shard.tensors) names.back().push_back(tensor.name);
    }
    return names;
  }

  absl::Status Write(const std::string& path, int64_t max_shard_bytes,
                     const std::string& from = "m") {
    const auto source = CheckpointFolder::OpenWithoutTensors(from, {}, &files_);
    if (!source.ok()) return source.status();
    return WriteCheckpoint(&files_, path,
                           {.weights = views_,
                            .max_shard_bytes = max_shard_bytes,
                            .copy_from = from,
                            .copy_names = source->carried_files()},
                           {.overwrite = true});
  }

  const std::vector<float> data_ = {1, 2, 3, 4, 5, 6};
  std::vector<TensorView> views_;
  base::MemoryFileSystem files_;
};

TEST_F(ShardsTest, AFileEndsBeforeTheTensorThatWouldExceedTheLimit) {
  using Names = std::vector<std::string>;
  EXPECT_THAT(Split(0), ElementsAre(Names{"a", "b", "large", "c", "d"}));
  EXPECT_THAT(Split(72), ElementsAre(Names{"a", "b", "large", "c", "d"}));
  EXPECT_THAT(Split(71), ElementsAre(Names{"a", "b", "large", "c"}, Names{"d"}));
  EXPECT_THAT(Split(24), ElementsAre(Names{"a", "b"}, Names{"large"}, Names{"c", "d"}));
  // A tensor above the limit has a file of its own.
  EXPECT_THAT(Split(1),
              ElementsAre(Names{"a"}, Names{"b"}, Names{"large"}, Names{"c"}, Names{"d"}));
}

TEST_F(ShardsTest, FilesAndIndexAreNamedAsTransformersDoes) {
  const std::vector<Shard> shards = SplitIntoShards(views_, 24);
  EXPECT_EQ(shards[0].file, "model-00001-of-00003.safetensors");
  EXPECT_EQ(shards[2].file, "model-00003-of-00003.safetensors");
  EXPECT_EQ(SplitIntoShards(views_, 0)[0].file, "model.safetensors");
  const auto index = nlohmann::json::parse(ShardIndex(shards));
  EXPECT_EQ(index["metadata"]["total_size"], 72);
  EXPECT_EQ(index["weight_map"].size(), 5u);
  EXPECT_EQ(index["weight_map"]["b"], "model-00001-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"]["d"], "model-00003-of-00003.safetensors");
}

TEST_F(ShardsTest, WhatIsWrittenInShardsIsReadBackBitForBit) {
  for (const int64_t limit : {1, 24, 30, 71}) {
    ASSERT_TRUE(Write("n", limit).ok());
    EXPECT_FALSE(files_.Exists("n/model.safetensors"));
    EXPECT_TRUE(CheckComplete(&files_, "n", Verify::kChecksums).ok());
    const auto folder = CheckpointFolder::Open("n", {}, &files_);
    ASSERT_TRUE(folder.ok()) << folder.status();
    EXPECT_THAT(folder->TensorNames(), ElementsAre("a", "b", "c", "d", "large"));
    for (const TensorView& view : views_) {
      EXPECT_EQ(folder->Find(view.name)->data, view.data) << view.name;
      EXPECT_EQ(folder->Find(view.name)->shape, view.shape) << view.name;
    }
  }
  EXPECT_FALSE(Write("n", -1).ok());
}

TEST_F(ShardsTest, NothingOfTheOldWeightsStandsBesideTheNewOnes) {
  ASSERT_TRUE(Write("five", 1).ok());
  ASSERT_TRUE(Write("one", 0, "five").ok());
  EXPECT_THAT(files_.List("one").value(),
              ElementsAre("added_tokens.json", kMarkerFile, "config.json", "model.safetensors"));
  ASSERT_TRUE(Write("two", 71, "five").ok());
  EXPECT_THAT(files_.List("two").value(),
              ElementsAre("added_tokens.json", kMarkerFile, "config.json",
                          "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                          kModelIndexFile));
  // Also in place, and also when the caller names the old files.
  ASSERT_TRUE(Write("five", 71, "five").ok());
  EXPECT_EQ(files_.List("five").value(), files_.List("two").value());
  ASSERT_TRUE(WriteCheckpoint(&files_, "three",
                              {.weights = views_,
                               .copy_from = "two",
                               .copy_names = {"config.json", "model-00001-of-00002.safetensors",
                                              std::string(kModelIndexFile)}})
                  .ok());
  EXPECT_THAT(files_.List("three").value(),
              ElementsAre(kMarkerFile, "config.json", "model.safetensors"));
}

TEST_F(ShardsTest, ShardsThatDisagreeWithTheIndexAreRefusedWithFileAndField) {
  ASSERT_TRUE(Write("n", 24).ok());
  ASSERT_TRUE(files_.RemoveFile("n/" + std::string(kMarkerFile)).ok());
  const std::string index = files_.Read("n/" + std::string(kModelIndexFile)).value();
  const auto error_with = [&](const std::string& tensor, const nlohmann::json& shard) {
    auto changed = nlohmann::json::parse(index);
    if (shard.is_null()) {
      changed["weight_map"].erase(tensor);
    } else {
      changed["weight_map"][tensor] = shard;
    }
    Put(&files_, "n/" + std::string(kModelIndexFile), changed.dump());
    const auto folder = CheckpointFolder::Open("n", {}, &files_);
    EXPECT_FALSE(folder.ok());
    EXPECT_THAT(folder.status().message(), HasSubstr("n/model.safetensors.index.json"));
    return std::string(folder.status().message());
  };
  const std::string second = "model-00002-of-00003.safetensors";
  // In another shard than the index says.
  EXPECT_THAT(error_with("a", second),
              AllOf(HasSubstr("'weight_map.a'"), HasSubstr("00001-of-00003")));
  EXPECT_THAT(error_with("a", nullptr), AllOf(HasSubstr("'weight_map.a'"), HasSubstr("missing")));
  EXPECT_THAT(error_with("x", second),
              AllOf(HasSubstr("'weight_map.x'"), HasSubstr("no such tensor")));
  for (const char* outside : {"../model.safetensors", "/etc/model.safetensors",
                              "sub/model.safetensors", "config.json", ""}) {
    EXPECT_THAT(error_with("a", outside), HasSubstr("'weight_map.a'")) << outside;
  }
  // Twice, with the index naming one of them.
  Put(&files_, "n/" + second,
      SafetensorsBytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                       R"("large":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                       "xx"));
  EXPECT_THAT(error_with("a", "model-00001-of-00003.safetensors"),
              AllOf(HasSubstr("'weight_map.a'"), HasSubstr("n/" + second)));
  ASSERT_TRUE(files_.RemoveFile("n/" + second).ok());
  EXPECT_THAT(error_with("large", second),
              AllOf(HasSubstr("'weight_map.large'"), HasSubstr("n/" + second)));
}

TEST_F(ShardsTest, EveryOtherFileIsKeptByteForByte) {
  const std::string bytes("\x00\xff\r\n\xe2\x82", 6);
  Put(&files_, "m/tokenizer.json", bytes);
  Put(&files_, "m/modeling_own.py", "def f():\r\n\tpass");
  Put(&files_, "m/README.md", std::string(3 << 20, 'x'));  // more than one piece
  Put(&files_, "m/empty.txt", "");
  Put(&files_, "m/.gitattributes", "*.safetensors lfs");
  Put(&files_, "m/assets/deep/figure.png", bytes);
  // No files of this model.
  Put(&files_, "m/.git/HEAD", "x");
  Put(&files_, "m/runs/step-1/config.json", "{}");
  Put(&files_, "m/runs/step-1/tokenizer.json", "{}");
  Put(&files_, "m/pytorch_model.bin", "x");
  Put(&files_, "m/model.safetensors", "x");
  ASSERT_TRUE(Write("n", 24).ok());
  for (const char* name : {"added_tokens.json", "config.json", "tokenizer.json", "modeling_own.py",
                           "README.md", "empty.txt", ".gitattributes", "assets/deep/figure.png"}) {
    EXPECT_EQ(files_.Read(absl::StrCat("n/", name)).value(),
              files_.Read(absl::StrCat("m/", name)).value())
        << name;
  }
  for (const char* name : {".git", "runs", "pytorch_model.bin", "model.safetensors"}) {
    EXPECT_FALSE(files_.Exists(absl::StrCat("n/", name))) << name;
  }
  files_.LosePower();
  EXPECT_TRUE(CheckComplete(&files_, "n", Verify::kChecksums).ok());
}

}  // namespace
}  // namespace dtrpo::checkpoint

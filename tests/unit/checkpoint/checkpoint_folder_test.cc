#include "common/checkpoint/checkpoint_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/memory_file_system.h"
#include "common/checkpoint/checkpoint_writer.h"
#include "tests/unit/checkpoint/fixtures.h"

namespace dtrpo::checkpoint {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string OneTensor(const std::string& name) {
  return SafetensorsBytes("{\"" + name + R"(":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
                          name.substr(0, 2));
}

class CheckpointFolderTest : public testing::Test {
 protected:
  CheckpointFolderTest() {
    Put("config.json", FastDllmConfig().dump());
    Put("added_tokens.json", R"({"|<MASK>|": 95})");
    Put("model.safetensors", OneTensor("aa"));
  }
  void Put(const std::string& name, const std::string& content) {
    checkpoint::Put(&files_, "m/" + name, content);
  }
  absl::StatusOr<CheckpointFolder> Open() { return CheckpointFolder::Open("m", {}, &files_); }

  base::MemoryFileSystem files_;
};

TEST_F(CheckpointFolderTest, OpensASingleFile) {
  Put("tokenizer.json", "{}");
  Put("modeling.py", "pass");
  Put("pytorch_model.bin", "x");
  Put(".gitattributes", "x");
  Put("sub/file.txt", "x");
  const auto folder = Open();
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(folder->descriptor().mask_id, 95);
  EXPECT_EQ(folder->config().torch_dtype, "bfloat16");
  EXPECT_THAT(folder->TensorNames(), ElementsAre("aa"));
  EXPECT_EQ(folder->Find("aa")->data, absl::MakeConstSpan(std::string("aa")));
  EXPECT_THAT(folder->Tensor("zz").status().message(), AllOf(HasSubstr("m"), HasSubstr("'zz'")));
  EXPECT_THAT(folder->carried_files(),
              ElementsAre(".gitattributes", "added_tokens.json", "config.json", "modeling.py",
                          "sub/file.txt", "tokenizer.json"));
  EXPECT_EQ(ReadDescriptor("m", {}, &files_)->mask_id, 95);
}

TEST_F(CheckpointFolderTest, OpensWithoutTensorsWhereThereAreNone) {
  ASSERT_TRUE(files_.RemoveFile("m/model.safetensors").ok());
  EXPECT_FALSE(Open().ok());
  const auto folder = CheckpointFolder::OpenWithoutTensors("m", {}, &files_);
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(folder->descriptor().mask_id, 95);
  EXPECT_THAT(folder->TensorNames(), ElementsAre());
  EXPECT_THAT(folder->carried_files(), ElementsAre("added_tokens.json", "config.json"));
}

TEST_F(CheckpointFolderTest, OpensShards) {
  ASSERT_TRUE(files_.RemoveFile("m/model.safetensors").ok());
  Put("model-1.safetensors", OneTensor("aa"));
  Put("model-2.safetensors", OneTensor("bb"));
  Put("model.safetensors.index.json",
      R"({"weight_map": {"bb": "model-2.safetensors", "aa": "model-1.safetensors"}})");
  const auto folder = Open();
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_THAT(folder->TensorNames(), ElementsAre("aa", "bb"));
  EXPECT_EQ(folder->Find("bb")->data, absl::MakeConstSpan(std::string("bb")));
  EXPECT_THAT(folder->carried_files(), ElementsAre("added_tokens.json", "config.json"));
}

TEST_F(CheckpointFolderTest, NamesWhatIsWrongWithAnIndex) {
  ASSERT_TRUE(files_.RemoveFile("m/model.safetensors").ok());
  Put("model-1.safetensors", OneTensor("aa"));
  const auto error = [&](const std::string& index) {
    Put("model.safetensors.index.json", index);
    return std::string(Open().status().message());
  };
  EXPECT_THAT(error("{}"), AllOf(HasSubstr("index.json"), HasSubstr("'weight_map'")));
  EXPECT_THAT(error(R"({"weight_map": {"bb": "model-1.safetensors"}})"),
              AllOf(HasSubstr("weight_map.bb"), HasSubstr("m/model-1.safetensors")));
  EXPECT_THAT(error(R"({"weight_map": {"aa": "../model-1.safetensors"}})"),
              AllOf(HasSubstr("weight_map.aa"), HasSubstr("../model-1")));
  EXPECT_THAT(error(R"({"weight_map": {"aa": 3}})"), HasSubstr("weight_map.aa"));
  EXPECT_THAT(error(R"({"weight_map": {"aa": "gone.safetensors"}})"),
              HasSubstr("m/gone.safetensors"));
}

TEST_F(CheckpointFolderTest, NamesTheMissingFile) {
  EXPECT_THAT(CheckpointFolder::Open("nowhere", {}, &files_).status().message(),
              AllOf(HasSubstr("nowhere"), HasSubstr("no such model folder")));
  ASSERT_TRUE(files_.RemoveFile("m/model.safetensors").ok());
  EXPECT_TRUE(absl::IsNotFound(Open().status()));
  EXPECT_THAT(Open().status().message(), HasSubstr("m/model.safetensors"));
  ASSERT_TRUE(files_.RemoveFile("m/config.json").ok());
  EXPECT_THAT(Open().status().message(), HasSubstr("m/config.json"));
}

TEST_F(CheckpointFolderTest, RefusesAFolderThatDoesNotMatchItsMarker) {
  ASSERT_TRUE(WriteCheckpoint(&files_, "n",
                              {.copy_from = "m",
                               .copy_names = {"config.json", "added_tokens.json"},
                               .extra_files = {{"model.safetensors", OneTensor("aa")}}})
                  .ok());
  ASSERT_TRUE(CheckpointFolder::Open("n", {}, &files_).ok());
  checkpoint::Put(&files_, "n/model.safetensors", OneTensor("aab"));
  const auto folder = CheckpointFolder::Open("n", {}, &files_);
  EXPECT_EQ(folder.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(folder.status().message(), HasSubstr("n/model.safetensors"));
}

TEST_F(CheckpointFolderTest, FindsTheMaskInTokenizerJsonWhenNoAddedTokensFileHasIt) {
  Put("added_tokens.json", "{}");
  Put("tokenizer.json", R"({"added_tokens": [{"id": 94, "content": "<|MASK|>"}]})");
  EXPECT_EQ(Open()->descriptor().mask_id, 94);
  EXPECT_EQ(CheckpointFolder::Open("m", {.mask_token_id = 93}, &files_)->descriptor().mask_id, 93);
}

TEST(CheckpointFolderDiskTest, MapsAFolderOfTheDisk) {
  const std::string path = testing::TempDir() + "/checkpoint_folder_test";
  base::FileSystem* const disk = base::PosixFileSystem();
  ASSERT_TRUE(disk->RemoveTree(path).ok());
  const std::vector<float> data = {1, 2};
  const std::vector<TensorView> tensors = {FloatView("model.norm.weight", {2}, data)};
  const absl::Status written =
      WriteCheckpoint(disk, path,
                      {.weights = tensors,
                       .extra_files = {{"config.json", FastDllmConfig().dump()},
                                       {"added_tokens.json", R"({"|<MASK>|": 95})"}}});
  ASSERT_TRUE(written.ok()) << written;
  const auto folder = CheckpointFolder::Open(path);
  ASSERT_TRUE(folder.ok()) << folder.status();
  // The mapping outlives the names: a checkpoint may be removed while it is in use.
  ASSERT_TRUE(disk->RemoveTree(path).ok());
  EXPECT_EQ(folder->Tensor("model.norm.weight")->data, tensors[0].data);
}

}  // namespace
}  // namespace dtrpo::checkpoint

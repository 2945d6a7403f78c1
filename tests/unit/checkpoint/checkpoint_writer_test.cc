#include "common/checkpoint/checkpoint_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/memory_file_system.h"
#include "tests/unit/checkpoint/fixtures.h"

namespace dtrpo::checkpoint {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class CheckpointWriterTest : public testing::Test {
 protected:
  CheckpointWriterTest() {
    Put(&files_, "source/tokenizer.json", "tokens");
    Put(&files_, "source/config.json", "old");
  }
  CheckpointContents Contents(const std::string& config) {
    return {.weights = {FloatView("w", {3}, data_)},
            .tensor_files = {{"optimizer.safetensors", {FloatView("w.exp_avg", {3}, data_)}}},
            .copy_from = "source",
            .copy_names = {"config.json", "tokenizer.json"},
            .extra_files = {{"config.json", config}}};
  }

  const std::vector<float> data_ = {1, 2, 3};
  base::MemoryFileSystem files_;
};

TEST_F(CheckpointWriterTest, WritesCopiesExtrasAndTensors) {
  const absl::Status written = WriteCheckpoint(&files_, "out/step-1", Contents("new"));
  ASSERT_TRUE(written.ok()) << written;
  EXPECT_THAT(files_.List("out/step-1").value(),
              ElementsAre(kMarkerFile, "config.json", "model.safetensors", "optimizer.safetensors",
                          "tokenizer.json"));
  EXPECT_EQ(files_.Read("out/step-1/config.json").value(), "new");
  EXPECT_EQ(files_.Read("out/step-1/tokenizer.json").value(), "tokens");
  const auto model =
      SafetensorsFile::FromBytes(files_.Read("out/step-1/model.safetensors").value(), "model");
  EXPECT_EQ((*model)->Find("w")->data, FloatView("", {}, data_).data);
  EXPECT_TRUE(CheckComplete(&files_, "out/step-1", Verify::kChecksums).ok());
  EXPECT_THAT(files_.List("out").value(), ElementsAre("step-1"));
}

// What another process wrote, complete in itself, becomes part of the whole.
TEST_F(CheckpointWriterTest, TakesOverThePartsOfOthers) {
  CheckpointContents theirs;
  theirs.tensor_files["optimizer-2.safetensors"] = {FloatView("w.exp_avg", {3}, data_)};
  ASSERT_TRUE(WriteCheckpoint(&files_, "out/step-1.part-1", theirs).ok());
  CheckpointContents ours = Contents("new");
  ours.parts = {"out/step-1.part-1"};
  const absl::Status written = WriteCheckpoint(&files_, "out/step-1", ours);
  ASSERT_TRUE(written.ok()) << written;
  files_.LosePower();
  EXPECT_TRUE(CheckComplete(&files_, "out/step-1", Verify::kChecksums).ok());
  EXPECT_TRUE(files_.Exists("out/step-1/optimizer-2.safetensors"));
  EXPECT_THAT(files_.List("out").value(), ElementsAre("step-1"));

  ours.parts = {"out/step-2.part-1"};
  EXPECT_THAT(std::string(WriteCheckpoint(&files_, "out/step-2", ours).message()),
              HasSubstr("step-2.part-1"));
  EXPECT_FALSE(files_.Exists("out/step-2"));
}

TEST_F(CheckpointWriterTest, SurvivesPowerLossAsSoonAsItReturns) {
  ASSERT_TRUE(WriteCheckpoint(&files_, "out/step-1", Contents("new")).ok());
  files_.LosePower();
  EXPECT_TRUE(CheckComplete(&files_, "out/step-1", Verify::kChecksums).ok());
}

TEST_F(CheckpointWriterTest, AFailureAtAnyPointLeavesNothingOrAllOfIt) {
  int point = 0;
  bool reached_the_end = false;
  for (; !reached_the_end && point < 500; ++point) {
    base::MemoryFileSystem files;
    Put(&files, "source/tokenizer.json", "tokens");
    Put(&files, "source/config.json", "old");
    int calls = 0;
    files.set_fault([&](absl::string_view operation, const std::string& path) -> absl::Status {
      if (calls++ < point) return absl::OkStatus();
      return absl::ResourceExhaustedError(absl::StrCat(operation, " ", path, ": no space"));
    });
    const absl::Status written = WriteCheckpoint(&files, "out/step-1", Contents("new"));
    reached_the_end = calls <= point;
    files.set_fault(nullptr);
    files.LosePower();
    if (written.ok()) {
      EXPECT_TRUE(CheckComplete(&files, "out/step-1", Verify::kChecksums).ok()) << point;
    } else {
      EXPECT_EQ(written.code(), absl::StatusCode::kResourceExhausted);
      if (files.Exists("out/step-1")) {
        EXPECT_TRUE(CheckComplete(&files, "out/step-1", Verify::kChecksums).ok()) << point;
      }
      // A second try is not held up by what the first one left.
      if (!files.Exists("out/step-1")) {
        EXPECT_TRUE(WriteCheckpoint(&files, "out/step-1", Contents("new")).ok()) << point;
      }
    }
  }
  EXPECT_TRUE(reached_the_end);
  EXPECT_GT(point, 15);  // there were that many places to fail at
}

TEST_F(CheckpointWriterTest, ReplacesOnlyWhenAsked) {
  ASSERT_TRUE(WriteCheckpoint(&files_, "out", Contents("first")).ok());
  const absl::Status again = WriteCheckpoint(&files_, "out", Contents("second"));
  EXPECT_EQ(again.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(again.message(), HasSubstr("out"));
  EXPECT_EQ(files_.Read("out/config.json").value(), "first");
  ASSERT_TRUE(WriteCheckpoint(&files_, "out", Contents("second"), {.overwrite = true}).ok());
  EXPECT_EQ(files_.Read("out/config.json").value(), "second");
  EXPECT_FALSE(files_.Exists("out.old"));
  EXPECT_FALSE(files_.Exists("out.tmp"));
}

TEST_F(CheckpointWriterTest, RefusesNamesThatLeaveTheFolder) {
  for (const char* name : {"../x", "a/../b", "a//b", "/a", "a/", "", ".."}) {
    const absl::Status written =
        WriteCheckpoint(&files_, "out", {.extra_files = {{name, "content"}}});
    EXPECT_EQ(written.code(), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_FALSE(
      WriteCheckpoint(&files_, "out", {.extra_files = {{std::string(kMarkerFile), ""}}}).ok());
}

TEST_F(CheckpointWriterTest, NamesTheFileThatDiffersFromTheMarker) {
  EXPECT_TRUE(absl::IsNotFound(CheckComplete(&files_, "source", Verify::kSizes)));
  ASSERT_TRUE(WriteCheckpoint(&files_, "out", Contents("new")).ok());
  Put(&files_, "out/tokenizer.json", "tokenz");  // the same size
  EXPECT_TRUE(CheckComplete(&files_, "out", Verify::kSizes).ok());
  absl::Status complete = CheckComplete(&files_, "out", Verify::kChecksums);
  EXPECT_EQ(complete.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(complete.message(), HasSubstr("out/tokenizer.json"));
  Put(&files_, "out/tokenizer.json", "shorter");
  EXPECT_FALSE(CheckComplete(&files_, "out", Verify::kSizes).ok());
  ASSERT_TRUE(files_.RemoveFile("out/tokenizer.json").ok());
  complete = CheckComplete(&files_, "out", Verify::kSizes);
  EXPECT_EQ(complete.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(complete.message(), HasSubstr("missing"));
  Put(&files_, "out/" + std::string(kMarkerFile), "{\"format\": 9}");
  EXPECT_THAT(CheckComplete(&files_, "out", Verify::kSizes).message(), HasSubstr("'format'"));
}

}  // namespace
}  // namespace dtrpo::checkpoint

#include "common/checkpoint/retention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/memory_file_system.h"
#include "common/checkpoint/checkpoint_writer.h"
#include "tests/unit/checkpoint/fixtures.h"

namespace dtrpo::checkpoint {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class CheckpointRootTest : public testing::Test {
 protected:
  void Write(int64_t step) {
    const absl::Status written =
        WriteCheckpoint(&files_, root_.PathOf(step), {.extra_files = {{"config.json", "{}"}}});
    ASSERT_TRUE(written.ok()) << written;
  }
  std::vector<int64_t> Steps() {
    std::vector<int64_t> steps;
    const std::vector<RetainedCheckpoint> listed = root_.List().value();
    for (const RetainedCheckpoint& checkpoint : listed) {
      steps.push_back(checkpoint.step);
    }
    return steps;
  }

  base::MemoryFileSystem files_;
  CheckpointRoot root_{&files_, "job"};
};

TEST_F(CheckpointRootTest, ListsCompleteCheckpointsOldestFirst) {
  EXPECT_THAT(Steps(), IsEmpty());
  EXPECT_TRUE(absl::IsNotFound(root_.Latest().status()));
  Write(100);
  Write(20);
  Write(123456789);
  Put(&files_, "job/step-00000030/config.json", "no marker");
  Put(&files_, "job/step-40/config.json", "not our name");
  Put(&files_, "job/other/file", "x");
  EXPECT_THAT(Steps(), ElementsAre(20, 100, 123456789));
}

TEST_F(CheckpointRootTest, LatestFollowsThePointerAndNeverAHalfCheckpoint) {
  Write(10);
  Write(20);
  EXPECT_EQ(root_.Latest()->step, 20);  // no pointer yet
  ASSERT_TRUE(root_.SetLatest(10).ok());
  EXPECT_EQ(root_.Latest()->step, 10);
  EXPECT_EQ(root_.Latest()->path, "job/step-00000010");
  Put(&files_, "job/step-00000030/config.json", "no marker");
  EXPECT_FALSE(root_.SetLatest(30).ok());
  EXPECT_FALSE(root_.SetLatest(40).ok());
  EXPECT_EQ(root_.Latest()->step, 10);
  files_.LosePower();
  EXPECT_EQ(root_.Latest()->step, 10);
  // The pointer names a folder that somebody damaged.
  ASSERT_TRUE(files_.RemoveFile("job/step-00000010/config.json").ok());
  EXPECT_EQ(root_.Latest()->step, 20);
}

TEST_F(CheckpointRootTest, PrunesTheOldestButNeverLatestOrPinned) {
  for (const int64_t step : {1, 2, 3, 4, 5, 6}) Write(step);
  ASSERT_TRUE(root_.SetLatest(2).ok());
  EXPECT_THAT(root_.Prune(2, /*pinned=*/{3}).value(), ElementsAre(1, 4));
  EXPECT_THAT(Steps(), ElementsAre(2, 3, 5, 6));
  ASSERT_TRUE(root_.SetLatest(6).ok());
  EXPECT_THAT(root_.Prune(1).value(), ElementsAre(2, 3, 5));
  EXPECT_THAT(root_.Prune(1).value(), IsEmpty());
  EXPECT_THAT(files_.List("job").value(), ElementsAre("latest", "step-00000006"));
}

TEST_F(CheckpointRootTest, RemovesLeftoversAndPutsBackAnInterruptedReplacement) {
  EXPECT_TRUE(root_.RemoveLeftovers().ok());
  Write(1);
  Write(2);
  ASSERT_TRUE(files_.Rename(root_.PathOf(2), root_.PathOf(2) + ".old").ok());
  Put(&files_, "job/step-00000001.old/config.json", "x");
  Put(&files_, "job/step-00000003.tmp/config.json", "x");
  Put(&files_, "job/step-00000004.removed/config.json", "x");
  Put(&files_, "job/latest.tmp", "x");
  Put(&files_, "job/step-00000004.part-1/optimizer-00002-of-00002.safetensors", "x");
  Put(&files_, "job/step-00000004.part-2.tmp/optimizer-00003-of-00003.safetensors", "x");
  Put(&files_, "job/notes.tmp", "not ours");
  ASSERT_TRUE(root_.RemoveLeftovers().ok());
  EXPECT_THAT(files_.List("job").value(),
              ElementsAre("notes.tmp", "step-00000001", "step-00000002"));
  EXPECT_THAT(Steps(), ElementsAre(1, 2));
}

}  // namespace
}  // namespace dtrpo::checkpoint

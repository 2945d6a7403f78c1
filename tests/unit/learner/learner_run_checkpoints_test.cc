// Which checkpoints a run writes, keeps and goes back to, and the end that its coordinator asks
// for.
#include <vector>

#include "common/checkpoint/retention.h"
#include "tests/unit/learner/learner_run_fixture.h"

namespace dtrpo::learner {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsSupersetOf;
using ::testing::Not;

class LearnerRunCheckpointsTest : public LearnerRunTest {
 protected:
  std::vector<int64_t> Steps() const {
    checkpoint::CheckpointRoot root(base::PosixFileSystem(), spec_.output + "/checkpoints");
    std::vector<int64_t> steps;
    const auto all = root.List();
    EXPECT_TRUE(all.ok()) << all.status();
    for (const auto& each : *all) steps.push_back(each.step);
    return steps;
  }
};

TEST_F(LearnerRunCheckpointsTest, WhatTheCoordinatorStillNeedsIsKeptBesideTheNewest) {
  spec_.training.checkpoint_every = 1;
  spec_.training.keep_checkpoints = 1;
  peers_->keep_steps = {2};
  ASSERT_TRUE(MakeRun(*peers_)->Run().ok());
  EXPECT_THAT(Steps(), ElementsAre(2, 5));
}

TEST_F(LearnerRunCheckpointsTest, WeightsThatAreEvaluatedAreSavedSoThatTheBestCanBeKept) {
  spec_.training.checkpoint_every = 100;
  spec_.training.keep_checkpoints = 10;
  spec_.data.heldout = "h.jsonl";
  spec_.evaluation.every_versions = 1;  // a version every other step
  ASSERT_TRUE(MakeRun(*peers_)->Run().ok());
  EXPECT_THAT(Steps(), ElementsAre(2, 4, 5));

  spec_.evaluation.keep_best = false;
  spec_.output = folder_ + "/without";
  ASSERT_TRUE(MakeRun(*peers_)->Run().ok());
  EXPECT_THAT(Steps(), ElementsAre(5));
}

TEST_F(LearnerRunCheckpointsTest, AnEarlyStopPublishesSavesAndEndsWithItsReason) {
  peers_->stop_at_step = 3;
  ASSERT_TRUE(MakeRun(*peers_)->Run().ok());
  EXPECT_THAT(peers_->calls(), IsSupersetOf({"version 2 at step 3", "checkpoint 3"}));
  EXPECT_THAT(peers_->calls(), Not(Contains("step 4 at version 1")));
  EXPECT_EQ(peers_->calls().back(), "finished 3: stopped early: a test");
}

// The weights of step 3 stand for those of step 4: batch 5 is next, and replay hears of step 4.
TEST_F(LearnerRunCheckpointsTest, AfterARollbackStepsGoOnFromTheEarlierWeights) {
  spec_.training.keep_checkpoints = 10;
  const auto first = MakePeers();
  const std::string third = TrainUpTo(3, *first);
  const auto until_fourth = MakePeers();
  const std::string fourth = TrainUpTo(4, *until_fourth, third, 2);
  ASSERT_NE(Read(third, "model.safetensors"), Read(fourth, "model.safetensors"));

  const auto back = MakePeers();
  ASSERT_TRUE(MakeRun(*back, third, /*attempt=*/3, /*resume_step=*/4)->Run().ok());
  EXPECT_THAT(back->calls(),
              ElementsAre("version 2 at step 4", "published 2", "acknowledge 4",
                          "step 5 at version 2", "version 3 at step 5", "published 3",
                          "checkpoint 5", "acknowledge 5", "finished 5: all steps made"));
  EXPECT_EQ(back->manifests().front().generation, 2) << "above the abandoned weights'";

  // What was published for version 2 are the bits of step 3.
  const auto again = MakePeers();
  ASSERT_TRUE(MakeRun(*again, third, /*attempt=*/4)->Run().ok());
  EXPECT_EQ(again->manifests().front().sha256, back->manifests().front().sha256);
}

// Step 5 is made from the base model, by the job's own batch 5.
TEST_F(LearnerRunCheckpointsTest, AfterARollbackToTheBaseModelStepsGoOnFromIt) {
  spec_.training.keep_checkpoints = 10;
  const auto first = MakePeers();
  TrainUpTo(4, *first);
  const std::string base_sha = first->manifests().front().sha256;

  const auto back = MakePeers();
  ASSERT_TRUE(
      MakeRun(*back, /*resume_checkpoint=*/"", /*attempt=*/2, /*resume_step=*/4)->Run().ok());
  EXPECT_THAT(back->calls(),
              ElementsAre("version 2 at step 4", "published 2", "acknowledge 4",
                          "step 5 at version 2", "version 3 at step 5", "published 3",
                          "checkpoint 5", "acknowledge 5", "finished 5: all steps made"));
  EXPECT_EQ(back->manifests().front().sha256, base_sha);
  EXPECT_EQ(back->manifests().front().generation, 1);
}

TEST_F(LearnerRunCheckpointsTest, LatestNamesWhatARollbackWentBackToUntilTheNextCheckpoint) {
  spec_.training.keep_checkpoints = 10;
  const auto first = MakePeers();
  const std::string third = TrainUpTo(3, *first);
  const auto second = MakePeers();
  TrainUpTo(4, *second, third, 2);
  checkpoint::CheckpointRoot root(base::PosixFileSystem(), spec_.output + "/checkpoints");
  ASSERT_EQ(root.Latest()->step, 4);
  peers_->on_call = [&](const std::string& call) {
    if (call == "acknowledge 4") {
      EXPECT_EQ(root.Latest()->step, 3);
    }
    return absl::OkStatus();
  };
  ASSERT_TRUE(MakeRun(*peers_, third, 3, 4)->Run().ok());
  EXPECT_EQ(root.Latest()->step, 5);
}

}  // namespace
}  // namespace dtrpo::learner

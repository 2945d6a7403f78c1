// A rollout dies without a word in the middle of its work.
#include <signal.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "tests/integration/loop_test.h"

namespace dtrpo {
namespace {

TEST_F(LoopTest, KilledRolloutLosesNothingAndCountsNothingTwice) {
  ASSERT_NO_FATAL_FAILURE(MakeTask());
  ASSERT_NO_FATAL_FAILURE(StartCluster({.rollouts = 2}));
  // Slow enough a change that pairs are still found at the end.
  const auto id = cluster_->Submit(task_.Job("blue", /*steps=*/100, /*learning_rate=*/1e-4));
  ASSERT_TRUE(id.ok()) << id.status();
  for (const auto& [name, at_step] : {std::pair("rollout-0", 20), std::pair("rollout-1", 55)}) {
    const auto under_way = cluster_->Await(
        *id, "a step", [at = at_step](const v1::JobStatus& job) { return job.step() >= at; });
    ASSERT_TRUE(under_way.ok()) << under_way.status();
    cluster_->Signal(name, SIGKILL);
  }
  const auto job = cluster_->AwaitEnd(*id);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
  ExpectExactSums(*job);
  EXPECT_EQ(job->attempt(), 1);  // the learner never noticed
  for (const std::string name : {"rollout-0", "rollout-1"}) {
    EXPECT_EQ(cluster_->Member(name).restarts, 1) << name;
    const auto& events = cluster_->events();
    EXPECT_TRUE(std::any_of(events.begin(), events.end(), [&](const std::string& event) {
      return absl::StrContains(event, absl::StrCat(name, " (pid ")) &&
             absl::StrContains(event, "was killed by signal 9");
    })) << name;
  }
}

// The worst moment: the pairs are stored, and nobody has been told.
TEST_F(LoopTest, RolloutsThatDieBetweenInsertAndReportCountNothingTwice) {
  ASSERT_NO_FATAL_FAILURE(MakeTask());
  ASSERT_NO_FATAL_FAILURE(StartCluster(
      {.rollouts = 2, .extra_config = [](const std::string& kind) {
         return kind == "rollout" ? "  faults:\n    points: [\"rollout.after_insert:kill@300\"]\n"
                                  : "";
       }}));
  const auto id = cluster_->Submit(task_.Job("blue", /*steps=*/60, /*learning_rate=*/1e-4));
  ASSERT_TRUE(id.ok()) << id.status();
  const auto job = cluster_->AwaitEnd(*id);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
  EXPECT_GE(cluster_->Member("rollout-0").restarts + cluster_->Member("rollout-1").restarts, 2);
  ExpectExactSums(*job);
}

}  // namespace
}  // namespace dtrpo

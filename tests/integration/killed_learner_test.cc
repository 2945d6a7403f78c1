// The learner dies without a word; another process goes on from its checkpoint.
#include <signal.h>

#include "absl/time/clock.h"
#include "tests/integration/loop_test.h"

namespace dtrpo {
namespace {

TEST_F(LoopTest, KilledLearnerIsReplacedAndGoesOnFromTheCheckpoint) {
  ASSERT_NO_FATAL_FAILURE(MakeTask());
  ASSERT_NO_FATAL_FAILURE(StartCluster({.extra_config = [](const std::string& kind) {
    return kind == "coordinator" ? "worker_timeout_ms: 1500\n" : "";
  }}));
  const auto id = cluster_->Submit(task_.Job("blue", /*steps=*/80, /*learning_rate=*/1e-4));
  ASSERT_TRUE(id.ok()) << id.status();
  // Past the checkpoint of step 20 and before that of step 30, as a rule.
  const auto under_way =
      cluster_->Await(*id, "step 25", [](const v1::JobStatus& job) { return job.step() >= 25; });
  ASSERT_TRUE(under_way.ok()) << under_way.status();
  EXPECT_EQ(under_way->attempt(), 1);
  cluster_->Signal("learner", SIGKILL);

  // Nobody starts it again for now, so the coordinator has to find out by itself.
  absl::StatusOr<v1::JobStatus> job;
  for (int i = 0; i < 200; ++i) {
    job = cluster_->Get(*id);
    ASSERT_TRUE(job.ok()) << job.status();
    if (job->state() != v1::RUNNING) break;
    absl::SleepFor(absl::Milliseconds(50));
  }
  EXPECT_EQ(job->state(), v1::RESTARTING) << job->ShortDebugString();
  EXPECT_NE(job->reason(), "");
  EXPECT_LT(job->step(), 80);
  const std::string checkpoint = job->checkpoint();
  EXPECT_NE(checkpoint, "");

  job = cluster_->AwaitEnd(*id);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
  EXPECT_EQ(job->attempt(), 2);
  EXPECT_EQ(cluster_->Member("learner").restarts, 1);
  EXPECT_EQ(job->version(), 40);
  ExpectExactSums(*job);

  const auto log = base::PosixFileSystem()->Read(folder_ + "/run/logs/learner.log");
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_NE(log->find(absl::StrCat("path=", checkpoint)), std::string::npos)
      << "the second learner didn't begin with " << checkpoint;
}

// Dies twice at the same place of its third checkpoint, which is that of another step each time.
class LearnerKilledAtPoint : public LoopTest, public ::testing::WithParamInterface<std::string> {};

TEST_P(LearnerKilledAtPoint, GoesOnWithoutTrainingOnAnyPairTwice) {
  ASSERT_NO_FATAL_FAILURE(MakeTask());
  ASSERT_NO_FATAL_FAILURE(StartCluster({.extra_config = [](const std::string& kind) {
    return kind != "learner"
               ? ""
               : absl::StrCat("  faults:\n    points: [\"", GetParam(), ":kill@3\"]\n");
  }}));
  const auto id = cluster_->Submit(task_.Job("blue", /*steps=*/60, /*learning_rate=*/1e-4));
  ASSERT_TRUE(id.ok()) << id.status();
  const auto job = cluster_->AwaitEnd(*id);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
  EXPECT_EQ(job->attempt(), 3);
  EXPECT_EQ(job->version(), 30);
  ExpectExactSums(*job);
}

INSTANTIATE_TEST_SUITE_P(Checkpoint, LearnerKilledAtPoint,
                         ::testing::Values("learner.checkpoint_written",
                                           "learner.before_acknowledge"),
                         [](const auto& point) { return point.param.substr(8); });

}  // namespace
}  // namespace dtrpo

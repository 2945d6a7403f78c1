// The learner dies without a word; another process goes on from its checkpoint.
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
  cluster_->Kill("learner");

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
  const int64_t died_at = job->step();
  const std::string checkpoint = job->checkpoint();
  EXPECT_NE(checkpoint, "");

  job = cluster_->AwaitEnd(*id);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
  EXPECT_EQ(job->attempt(), 2);
  EXPECT_EQ(cluster_->Member("learner").restarts, 1);
  EXPECT_LT(died_at, 80);
  ExpectExactSums(*job);
  EXPECT_EQ(job->version(), 40);

  const auto log = base::PosixFileSystem()->Read(folder_ + "/run/logs/learner.log");
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_NE(log->find(absl::StrCat("path=", checkpoint)), std::string::npos)
      << "the second learner didn't begin with " << checkpoint;
}

}  // namespace
}  // namespace dtrpo

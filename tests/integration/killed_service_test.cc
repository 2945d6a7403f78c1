// The reference and the replay store die without a word.
#include <signal.h>

#include "absl/strings/str_cat.h"
#include "tests/integration/loop_test.h"

namespace dtrpo {
namespace {

class KilledServiceTest : public LoopTest {
 protected:
  // A job of 60 steps whose `service` is killed at step 25.
  v1::JobStatus JobWithKilled(const std::string& service, const std::string& durability = "sync") {
    v1::JobSpec spec = task_.Job("blue", /*steps=*/60, /*learning_rate=*/1e-4);
    spec.mutable_replay()->set_durability(durability);
    const auto id = cluster_->Submit(spec);
    EXPECT_TRUE(id.ok()) << id.status();
    const auto under_way =
        cluster_->Await(*id, "step 25", [](const v1::JobStatus& job) { return job.step() >= 25; });
    EXPECT_TRUE(under_way.ok()) << under_way.status();
    cluster_->Signal(service, SIGKILL);
    const auto job = cluster_->AwaitEnd(*id);
    EXPECT_TRUE(job.ok()) << job.status();
    EXPECT_EQ(cluster_->Member(service).restarts, 1);
    return job.value_or(v1::JobStatus());
  }
};

TEST_F(KilledServiceTest, KilledReferenceDelaysTheJobAndNothingElse) {
  ASSERT_NO_FATAL_FAILURE(MakeTask());
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  const v1::JobStatus job = JobWithKilled("reference");
  EXPECT_EQ(job.state(), v1::SUCCEEDED) << job.reason();
  EXPECT_EQ(job.attempt(), 1);
  ExpectExactSums(job);
}

// Invariant 10, seen from the job: the same attempt goes on with the same batches.
TEST_F(KilledServiceTest, KilledReplayDelaysTheJobAndNothingElse) {
  ASSERT_NO_FATAL_FAILURE(MakeTask());
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  const v1::JobStatus job = JobWithKilled("replay");
  EXPECT_EQ(job.state(), v1::SUCCEEDED) << job.reason();
  EXPECT_EQ(job.attempt(), 1);
  EXPECT_EQ(job.step(), 60);
  const v1::PromptCounts& prompts = job.prompts();
  EXPECT_EQ(prompts.consumed() + prompts.no_pair() + prompts.failed() + prompts.cancelled(),
            prompts.issued());
  EXPECT_EQ(prompts.failed(), 0);
}

// The workers go on with what they have, and the coordinator finds its job in its log.
TEST_F(KilledServiceTest, KilledCoordinatorDelaysTheJobAndNothingElse) {
  ASSERT_NO_FATAL_FAILURE(MakeTask());
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  const auto id = cluster_->Submit(task_.Job("blue", /*steps=*/30, /*learning_rate=*/1e-4));
  ASSERT_TRUE(id.ok()) << id.status();
  for (int64_t step : {4, 12, 20}) {
    const auto there = cluster_->Await(*id, absl::StrCat("step ", step),
                                       [step](const auto& job) { return job.step() >= step; });
    ASSERT_TRUE(there.ok()) << there.status();
    cluster_->Signal("coordinator", SIGKILL);
  }
  const auto job = cluster_->AwaitEnd(*id, absl::Seconds(120));
  ASSERT_TRUE(job.ok()) << job.status() << cluster_->LogTails();
  EXPECT_EQ(cluster_->Member("coordinator").restarts, 3);
  EXPECT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
  EXPECT_EQ(job->attempt(), 1);
  ASSERT_EQ(job->steps_size(), 30);
  for (int i = 0; i < job->steps_size(); ++i) EXPECT_EQ(job->steps(i).step(), i + 1);
  ExpectExactSums(*job);
}

// With durability memory: the job goes on from its checkpoint with new pairs.
TEST_F(KilledServiceTest, JobWhoseReplayStoreLostEverythingGoesOnFromItsCheckpoint) {
  ASSERT_NO_FATAL_FAILURE(MakeTask());
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  const v1::JobStatus job = JobWithKilled("replay", "memory");
  EXPECT_EQ(job.state(), v1::SUCCEEDED) << job.reason();
  EXPECT_EQ(job.attempt(), 2);
  EXPECT_EQ(job.step(), 60);
  ASSERT_EQ(job.steps_size(), 60);
  for (int i = 0; i < job.steps_size(); ++i) EXPECT_EQ(job.steps(i).step(), i + 1);
  const v1::PromptCounts& prompts = job.prompts();
  EXPECT_EQ(prompts.leased() + prompts.stored() + prompts.waiting(), 0);
  EXPECT_EQ(prompts.consumed() + prompts.no_pair() + prompts.failed() + prompts.cancelled(),
            prompts.issued());
  EXPECT_EQ(prompts.failed(), 0);
}

}  // namespace
}  // namespace dtrpo

// Jobs over several replay services, and jobs that outlive the cluster they were begun with.
#include <signal.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/integration/loop_test.h"

namespace dtrpo {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class ReplayShardsTest : public LoopTest {
 protected:
  ReplayShardsTest() { replay_ = "replay-0"; }

  void StartShards(int shards, int learners = 1) {
    tools::LocalClusterOptions options;
    options.replay_shards = shards;
    options.learners = learners;
    ASSERT_NO_FATAL_FAILURE(StartCluster(std::move(options)));
  }
  void AwaitStep(const std::string& id, int64_t step) {
    const auto there =
        cluster_->Await(id, absl::StrCat("step ", step),
                        [step](const v1::JobStatus& job) { return job.step() >= step; });
    ASSERT_TRUE(there.ok()) << there.status();
  }
};

// Shard 0 decides what is in a batch, the others keep bodies; each rank collects its own slice.
TEST_F(ReplayShardsTest, LostShardsDelayAJobOfTwoRanksAndNothingElse) {
  ASSERT_NO_FATAL_FAILURE(MakeTask());
  ASSERT_NO_FATAL_FAILURE(StartShards(3, /*learners=*/2));
  v1::JobSpec spec = task_.Job("blue", /*steps=*/60, /*learning_rate=*/1e-4);
  spec.mutable_replay()->set_selector("prioritised");
  spec.mutable_training()->set_ranks(2);
  const auto id = cluster_->Submit(spec);
  ASSERT_TRUE(id.ok()) << id.status();
  for (const auto& [step, shard] : {std::pair(12, "replay-1"), std::pair(24, "replay-0"),
                                    std::pair(36, "replay-2"), std::pair(45, "replay-0")}) {
    ASSERT_NO_FATAL_FAILURE(AwaitStep(*id, step));
    cluster_->Signal(shard, SIGKILL);
  }
  const auto job = cluster_->AwaitEnd(*id, absl::Seconds(150));
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
  EXPECT_EQ(job->attempt(), 1);
  EXPECT_EQ(cluster_->Member("replay-0").restarts, 2);
  EXPECT_EQ(cluster_->Member("replay-1").restarts, 1);
  EXPECT_EQ(cluster_->Member("replay-2").restarts, 1);
  ExpectExactCoordinatorSums(*job);
  // Deleted on every shard, soon.
  EXPECT_TRUE(cluster_->TendUntil([&] {
    const auto shown = Run({"dtrpoctl", "--address", cluster_->coordinator(), "replay", "stats"});
    return absl::StrContains(shown.output, absl::StrCat(*id, " ")) &&
           absl::StrContains(shown.output, "closed");
  }));
}

TEST_F(ReplayShardsTest, JobsGoOnWhenTheClusterIsStartedAgain) {
  ASSERT_NO_FATAL_FAILURE(MakeTask());
  ASSERT_NO_FATAL_FAILURE(StartShards(2));
  const auto id = cluster_->Submit(task_.Job("blue", /*steps=*/40, /*learning_rate=*/1e-4));
  ASSERT_TRUE(id.ok()) << id.status();
  ASSERT_NO_FATAL_FAILURE(AwaitStep(*id, 12));
  cluster_.reset();

  tools::LocalClusterOptions other;
  other.dir = folder_ + "/run";
  other.bin_dir = DTRPO_BIN_DIR;
  const auto refused = support::TestCluster::Start(other);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(std::string(refused.status().message()),
              AllOf(HasSubstr("began with 2 replay shards, not 1"), HasSubstr("--fresh")));

  ASSERT_NO_FATAL_FAILURE(StartShards(2));
  const auto job = cluster_->AwaitEnd(*id, absl::Seconds(150));
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
  ExpectExactCoordinatorSums(*job);
  cluster_.reset();

  other.fresh = true;
  auto fresh = support::TestCluster::Start(other);
  ASSERT_TRUE(fresh.ok()) << fresh.status();
  cluster_ = *std::move(fresh);
  EXPECT_FALSE(cluster_->Get(*id).ok());
}

}  // namespace
}  // namespace dtrpo

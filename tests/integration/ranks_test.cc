// A job whose learner is two processes: it trains to its end, and a rank that dies or stands still
// is named, whereupon the job goes on from its checkpoint, also with another number of ranks.
#include <signal.h>

#include "absl/time/clock.h"
#include "tests/integration/loop_test.h"

namespace dtrpo {
namespace {

class RanksTest : public LoopTest {
 protected:
  void Start() {
    ASSERT_NO_FATAL_FAILURE(MakeTask());
    tools::LocalClusterOptions options;
    options.learners = 2;
    options.extra_config = [](const std::string& kind) {
      return kind == "coordinator" ? "worker_timeout_ms: 1500\n" : "";
    };
    ASSERT_NO_FATAL_FAILURE(StartCluster(std::move(options)));
  }

  v1::JobSpec Job(int32_t min_ranks) const {
    v1::JobSpec spec = task_.Job("blue", /*steps=*/60, /*learning_rate=*/1e-4);
    spec.mutable_training()->set_ranks(2);
    spec.mutable_training()->set_min_ranks(min_ranks);
    return spec;
  }

  // The job's status once it isn't RUNNING, without anybody starting a process again.
  v1::JobStatus AwaitNotRunning(const std::string& id) {
    absl::StatusOr<v1::JobStatus> job;
    for (int i = 0; i < 600; ++i) {
      job = cluster_->Get(id);
      EXPECT_TRUE(job.ok()) << job.status();
      if (!job.ok() || job->state() != v1::RUNNING) break;
      absl::SleepFor(absl::Milliseconds(50));
    }
    return job.value_or(v1::JobStatus());
  }

  std::string Log(const std::string& member) const {
    return base::PosixFileSystem()
        ->Read(absl::StrCat(folder_, "/run/logs/", member, ".log"))
        .value_or("");
  }

  // Which process is which rank.
  std::string MemberOfRank(int rank) const {
    for (const char* member : {"learner-0", "learner-1"}) {
      if (Log(member).find(absl::StrCat("rank=", rank, " ")) != std::string::npos) return member;
    }
    ADD_FAILURE() << "nobody is rank " << rank;
    return "learner-0";
  }
};

class RanksKilledTest : public RanksTest, public ::testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Rank, RanksKilledTest, ::testing::Values(0, 1));

TEST_P(RanksKilledTest, IsNamedAndTheJobGoesOnWithAnotherProcessInItsPlace) {
  ASSERT_NO_FATAL_FAILURE(Start());
  const auto id = cluster_->Submit(Job(/*min_ranks=*/2));
  ASSERT_TRUE(id.ok()) << id.status();
  const auto under_way =
      cluster_->Await(*id, "step 15", [](const v1::JobStatus& job) { return job.step() >= 15; });
  ASSERT_TRUE(under_way.ok()) << under_way.status();
  EXPECT_EQ(under_way->attempt(), 1);
  const std::string killed = MemberOfRank(GetParam()), survivor = MemberOfRank(1 - GetParam());
  cluster_->Signal(killed, SIGKILL);
  const v1::JobStatus lost = AwaitNotRunning(*id);
  EXPECT_EQ(lost.state(), v1::RESTARTING) << lost.ShortDebugString();
  const std::string named = absl::StrCat("rank ", GetParam(), " of 2: ");
  EXPECT_NE(lost.reason().find(named), std::string::npos) << lost.reason();

  const auto job = cluster_->AwaitEnd(*id, absl::Seconds(120));
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
  EXPECT_EQ(job->attempt(), 2);
  EXPECT_EQ(job->version(), 30);
  ExpectExactSums(*job);
  EXPECT_NE(Log(survivor).find(named), std::string::npos)
      << "the other rank doesn't say whom it lost";
}

// Stands still instead of dying: its connections stay open, so only silence tells.
TEST_F(RanksTest, ARankThatStandsStillIsNamedAndTheJobGoesOnWithOneRank) {
  ASSERT_NO_FATAL_FAILURE(Start());
  const auto id = cluster_->Submit(Job(/*min_ranks=*/1));
  ASSERT_TRUE(id.ok()) << id.status();
  const auto under_way =
      cluster_->Await(*id, "step 15", [](const v1::JobStatus& job) { return job.step() >= 15; });
  ASSERT_TRUE(under_way.ok()) << under_way.status();
  const std::string stopped = MemberOfRank(1);
  cluster_->Signal(stopped, SIGSTOP);
  const v1::JobStatus lost = AwaitNotRunning(*id);
  EXPECT_EQ(lost.state(), v1::RESTARTING) << lost.ShortDebugString();
  EXPECT_NE(lost.reason().find("rank 1 of 2: "), std::string::npos) << lost.reason();
  EXPECT_NE(lost.reason().find("was silent"), std::string::npos) << lost.reason();

  const auto job = cluster_->AwaitEnd(*id, absl::Seconds(120));
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
  EXPECT_EQ(job->attempt(), 2);
  ExpectExactSums(*job);
  EXPECT_NE(Log("coordinator").find("ranks=1 "), std::string::npos);
  cluster_->Signal(stopped, SIGCONT);
}

}  // namespace
}  // namespace dtrpo

#include "services/replay/job_table.h"

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "common/base/fake_metrics.h"
#include "common/base/fault_points.h"
#include "common/base/retry_after.h"
#include "common/base/simulated_clock.h"
#include "common/storage/memory_engine.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/replay/table_harness.h"

namespace dtrpo::replay {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Answers as the memory engine does until it is told to fail.
class FailingEngine : public storage::MemoryEngine {
 public:
  absl::StatusOr<storage::Written> Write(absl::string_view log,
                                         storage::Operations operations) override {
    if (failing) return absl::InternalError("disk full");
    return MemoryEngine::Write(log, std::move(operations));
  }
  absl::Status WriteSnapshot(absl::string_view log, storage::Snapshot snapshot) override {
    ++snapshots;
    return MemoryEngine::WriteSnapshot(log, std::move(snapshot));
  }

  bool failing = false;
  int snapshots = 0;
};

class JobTableTest : public ::testing::Test {
 protected:
  JobTableTest() : metrics_(&registry_), waits_(&clock_) {
    deps_ = {.engine = &engine_, .metrics = &metrics_, .waits = &waits_, .clock = &clock_};
    table_ = *JobTable::Create("job", *Complete(SmallJob()), deps_);
  }
  ~JobTableTest() override { base::DisarmFaultPoints(); }

  absl::StatusOr<InsertOutcome> Insert(int64_t prompt, int64_t version, std::string body) {
    return table_->Insert({0, prompt, 0}, {{.version = version, .body = std::move(body)}});
  }
  absl::StatusOr<RankBatch> GetBatch(const BatchRequest& request,
                                     absl::Duration timeout = absl::ZeroDuration()) {
    return table_->GetBatch(request, clock_.Now() + timeout, [this] { return cancelled_.load(); });
  }
  absl::StatusOr<std::vector<std::string>> GetBodies(const BatchRequest& request) {
    DTRPO_ASSIGN_OR_RETURN(const RankBatch batch, GetBatch(request));
    std::vector<std::string> bodies;
    for (const RankBatch::Entry& entry : batch.entries) bodies.push_back(entry.body);
    return bodies;
  }
  void RestoreTable() { table_ = *JobTable::Restore("job", deps_); }

  FailingEngine engine_;
  base::FakeMetrics registry_;
  const base::Labels run_ = {{"run", "job"}};
  ReplayMetrics metrics_;
  base::SimulatedClock clock_;
  base::WaitStateRegistry waits_;
  std::atomic<bool> cancelled_ = false;
  JobTableDeps deps_;
  std::unique_ptr<JobTable> table_;
};

TEST_F(JobTableTest, ServesTheBodiesOfARanksSlice) {
  ASSERT_TRUE(Insert(0, 0, "a").ok());
  ASSERT_TRUE(Insert(1, 0, "b").ok());
  EXPECT_THAT(*GetBodies({.batch = 1, .rank = 0, .world = 1}), ElementsAre("a", "b"));
  EXPECT_THAT(*GetBodies({.batch = 1, .rank = 0, .world = 2}), ElementsAre("a"));
  EXPECT_THAT(*GetBodies({.batch = 1, .rank = 1, .world = 2}), ElementsAre("b"));
  EXPECT_EQ(GetBatch({.batch = 1, .rank = 2, .world = 3})->global_pairs, 2);
  EXPECT_THAT(GetBatch({.batch = 1, .rank = 2, .world = 2}).status().message(), HasSubstr("rank"));
  EXPECT_THAT(GetBatch({.batch = 1, .rank = 0, .world = 0}).status().message(), HasSubstr("world"));
}

TEST_F(JobTableTest, AWaitingBatchIsServedWhenItsPairsArrive) {
  absl::StatusOr<RankBatch> batch;
  std::thread learner([&] { batch = GetBatch({.batch = 1}, absl::Hours(1)); });
  ASSERT_TRUE(clock_.WaitForWaiters(1));
  ASSERT_EQ(waits_.Snapshot().size(), 1u);
  EXPECT_EQ(waits_.Snapshot()[0].what, "pairs for batch 1 of job job");
  ASSERT_TRUE(Insert(0, 0, "a").ok());
  ASSERT_TRUE(Insert(1, 0, "b").ok());
  learner.join();
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(batch->entries.size(), 2u);
  EXPECT_TRUE(waits_.Snapshot().empty());
  EXPECT_EQ(registry_.Observations("dtrpo_replay_batch_wait_seconds", run_).size(), 1u);
}

TEST_F(JobTableTest, AWaitEndsBeforeItsDeadlineSoThatTheReasonArrives) {
  absl::StatusOr<RankBatch> batch;
  std::thread learner([&] { batch = GetBatch({.batch = 1}, absl::Milliseconds(900)); });
  ASSERT_TRUE(clock_.WaitForWaiters(1));
  clock_.Advance(absl::Milliseconds(850));
  learner.join();
  EXPECT_EQ(base::GetReason(batch.status()), "not_enough_items");
  EXPECT_TRUE(base::GetRetryAfter(batch.status()).has_value());
}

TEST_F(JobTableTest, AWaitEndsWhenTheCallerIsGone) {
  absl::StatusOr<RankBatch> batch;
  std::thread learner([&] { batch = GetBatch({.batch = 1}, absl::Hours(1)); });
  ASSERT_TRUE(clock_.WaitForWaiters(1));
  cancelled_ = true;
  clock_.Advance(absl::Seconds(2));
  learner.join();
  EXPECT_FALSE(batch.ok());
}

TEST_F(JobTableTest, StopEndsWaits) {
  absl::StatusOr<RankBatch> batch;
  std::thread learner([&] { batch = GetBatch({.batch = 1}, absl::Hours(1)); });
  ASSERT_TRUE(clock_.WaitForWaiters(1));
  table_->Stop();
  learner.join();
  EXPECT_EQ(base::GetReason(batch.status()), "shutting_down");
  EXPECT_EQ(base::GetReason(Insert(0, 0, "a").status()), "shutting_down");
}

TEST_F(JobTableTest, AHigherAttemptEndsTheWaitOfALowerOne) {
  absl::StatusOr<RankBatch> batch;
  std::thread learner([&] { batch = GetBatch({.batch = 1, .attempt = 1}, absl::Hours(1)); });
  ASSERT_TRUE(clock_.WaitForWaiters(1));
  EXPECT_EQ(base::GetReason(GetBatch({.batch = 1, .attempt = 2}).status()), "not_enough_items");
  learner.join();
  EXPECT_EQ(base::GetReason(batch.status()), "stale_attempt");
}

TEST_F(JobTableTest, ClosingEndsWaitsAndDeletesTheBodies) {
  ASSERT_TRUE(Insert(0, 0, "a").ok());
  absl::StatusOr<RankBatch> batch;
  std::thread learner([&] { batch = GetBatch({.batch = 1}, absl::Hours(1)); });
  ASSERT_TRUE(clock_.WaitForWaiters(1));
  ASSERT_TRUE(table_->Close().ok());
  learner.join();
  EXPECT_EQ(base::GetReason(batch.status()), "job_closed");
  EXPECT_EQ(base::GetReason(Insert(1, 0, "b").status()), "job_closed");
  EXPECT_FALSE(engine_.ReadBodies("job", {1}).ok());
  EXPECT_TRUE(table_->Close().ok());
  RestoreTable();
  EXPECT_EQ(base::GetReason(Insert(1, 0, "b").status()), "job_closed");
}

TEST_F(JobTableTest, ARestoredTableServesTheSameBatches) {
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(Insert(i, 0, absl::StrCat("body ", i)).ok());
  ASSERT_TRUE(GetBatch({.batch = 2, .attempt = 3}).ok());
  ASSERT_TRUE(table_->Acknowledge(3, 1).ok());
  RestoreTable();
  EXPECT_THAT(*GetBodies({.batch = 2, .attempt = 4}), ElementsAre("body 2", "body 3"));
  EXPECT_TRUE(Insert(0, 0, "again")->duplicate);
  EXPECT_EQ(base::GetReason(table_->Acknowledge(3, 2)), "stale_attempt");
}

TEST_F(JobTableTest, SnapshotsReplaceTheLogAndLoseNothing) {
  deps_.records_per_snapshot = 3;
  RestoreTable();
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(Insert(i, -1, absl::StrCat("body ", i)).ok());
    ASSERT_EQ(table_->Stats().items, i + 1);
    RestoreTable();
  }
  EXPECT_GE(engine_.snapshots, 2);
  EXPECT_THAT(*GetBodies({.batch = 4}), ElementsAre("body 6", "body 7"));
  EXPECT_TRUE(Insert(3, -1, "again")->duplicate);
}

TEST_F(JobTableTest, AnUnloggedInsertNeverHappened) {
  engine_.failing = true;
  EXPECT_EQ(Insert(0, 0, "a").status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(table_->Stats().items, 0);
  engine_.failing = false;
  EXPECT_FALSE(Insert(0, 0, "a")->duplicate);
  EXPECT_TRUE(Insert(0, 0, "a")->duplicate);
}

TEST_F(JobTableTest, AnUnloggedBatchIsNotServed) {
  ASSERT_TRUE(Insert(0, 0, "a").ok());
  ASSERT_TRUE(Insert(1, 0, "b").ok());
  engine_.failing = true;
  EXPECT_FALSE(GetBatch({.batch = 1}).ok());
  EXPECT_EQ(table_->Stats().formed_batch, 0);
  engine_.failing = false;
  ASSERT_TRUE(base::ArmFaultPoints({"replay.before_log:error"}).ok());
  EXPECT_FALSE(GetBatch({.batch = 1}).ok());
  base::DisarmFaultPoints();
  EXPECT_TRUE(GetBatch({.batch = 1}).ok());
}

TEST_F(JobTableTest, DeletesBodiesWithTheirItems) {
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(Insert(i, 0, "body").ok());
  ASSERT_TRUE(GetBatch({.batch = 2}).ok());
  ASSERT_TRUE(table_->Acknowledge(0, 1).ok());
  EXPECT_FALSE(engine_.ReadBodies("job", {1}).ok());
  EXPECT_FALSE(engine_.ReadBodies("job", {2}).ok());
  EXPECT_TRUE(engine_.ReadBodies("job", {3, 4}).ok());
}

// Two ranks and four rollouts at once, on real time: together the ranks see each pair once.
TEST_F(JobTableTest, RanksAndRolloutsShareATable) {
  constexpr int kRollouts = 4, kPromptsEach = 25, kWorld = 2;
  constexpr int64_t kBatches = kRollouts * kPromptsEach / 2;  // of two pairs
  TableOptions options = SmallJob();
  options.checkpoint_every = kBatches;
  deps_.clock = base::RealClock();
  std::unique_ptr<JobTable> table = *JobTable::Create("shared", *Complete(options), deps_);
  std::vector<std::thread> threads;
  for (int rollout = 0; rollout < kRollouts; ++rollout) {
    threads.emplace_back([&table, rollout] {
      for (int i = 0; i < kPromptsEach; ++i) {
        const int64_t prompt = rollout * kPromptsEach + i;
        EXPECT_TRUE(table->Insert({0, prompt, 0}, {{-1, absl::StrCat(prompt)}}).ok());
      }
    });
  }
  std::vector<std::string> seen[kWorld];
  for (int rank = 0; rank < kWorld; ++rank) {
    threads.emplace_back([&table, &seen, rank] {
      for (int64_t n = 1; n <= kBatches; ++n) {
        absl::StatusOr<RankBatch> batch =
            table->GetBatch({.batch = n, .attempt = 1, .rank = rank, .world = kWorld},
                            absl::Now() + absl::Seconds(30), [] { return false; });
        ASSERT_TRUE(batch.ok()) << batch.status();
        for (const RankBatch::Entry& entry : batch->entries) seen[rank].push_back(entry.body);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<std::string> all(seen[0].begin(), seen[0].end());
  all.insert(seen[1].begin(), seen[1].end());
  EXPECT_EQ(all.size(), static_cast<size_t>(kRollouts * kPromptsEach));
  EXPECT_EQ(seen[0].size() + seen[1].size(), all.size());
}

TEST_F(JobTableTest, RefusesALogThatDoesNotBeginWithTheOpening) {
  ASSERT_TRUE(engine_.Append("odd", {.records = {EncodeRecord(DataEnded{})}}).ok());
  EXPECT_EQ(JobTable::Restore("odd", deps_).status().code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(engine_.Append("noise", {.records = {"\xff\xff"}}).ok());
  EXPECT_THAT(JobTable::Restore("noise", deps_).status().message(), HasSubstr("job noise"));
  EXPECT_EQ(JobTable::Restore("nothing", deps_).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(JobTableTest, MetricsFollowTheTable) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Insert(i, 0, "1234").ok());
  ASSERT_TRUE(Insert(0, 0, "1234")->duplicate);
  ASSERT_TRUE(table_->Insert({0, 9, 0}, {}).ok());
  ASSERT_TRUE(GetBatch({.batch = 1}).ok());
  EXPECT_EQ(registry_.Value("dtrpo_replay_stored_pairs", run_), 3);
  EXPECT_EQ(registry_.Value("dtrpo_replay_stored_bytes", run_), 12);
  EXPECT_EQ(registry_.Value("dtrpo_replay_assigned_pairs", run_), 2);
  EXPECT_EQ(registry_.Value("dtrpo_replay_available_pairs", run_), 1);
  EXPECT_EQ(registry_.Value("dtrpo_replay_inserted_pairs_total", run_), 3);
  EXPECT_EQ(registry_.Value("dtrpo_replay_no_pair_prompts_total", run_), 1);
  EXPECT_EQ(registry_.Value("dtrpo_replay_duplicate_inserts_total", run_), 1);
  EXPECT_EQ(registry_.Value("dtrpo_replay_formed_batches_total", run_), 1);
  EXPECT_EQ(registry_.Observations("dtrpo_replay_pair_lag_versions", run_).size(), 2u);
  ASSERT_TRUE(table_->Acknowledge(0, 1).ok());
  EXPECT_EQ(registry_.Value("dtrpo_replay_consumed_pairs_total", run_), 2);
  ASSERT_TRUE(table_->Close().ok());
  EXPECT_EQ(registry_.Value("dtrpo_replay_stored_pairs", run_), 0);
  EXPECT_EQ(registry_.Value("dtrpo_replay_stored_bytes", run_), 0);
}

}  // namespace
}  // namespace dtrpo::replay

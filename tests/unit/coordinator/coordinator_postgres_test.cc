// A coordinator that keeps its jobs in a PostgreSQL server: a second one takes over, and a server
// that is killed costs time alone.
#include <gmock/gmock.h>

#include <memory>
#include <string>
#include <utility>

#include "common/base/fault_points.h"
#include "common/base/retry_after.h"
#include "common/storage/postgres_engine.h"
#include "services/coordinator/tick_loop.h"
#include "tests/unit/coordinator/coordinator_harness.h"
#include "tests/unit/storage/postgres_server.h"

namespace dtrpo::coordinator {
namespace {

using testing::HasSubstr;

class CoordinatorPostgresTest : public CoordinatorHarness {
 protected:
  CoordinatorPostgresTest() { log_is_odd_ = true; }  // engine_ isn't the one that is used
  ~CoordinatorPostgresTest() override { base::DisarmFaultPoints(); }

  static storage::PostgresServer& server() {
    static storage::PostgresServer server;
    return server;
  }
  // Takes over from whoever has the shard.
  std::unique_ptr<storage::StorageEngine> Open() const {
    auto engine = storage::OpenPostgres(
        {.connection = server().connection(),
         .shard = "coordinator",
         .schema = std::string(testing::UnitTest::GetInstance()->current_test_info()->name())});
    EXPECT_TRUE(engine.ok()) << engine.status();
    return *std::move(engine);
  }
  // From here on coordinator_ is one that keeps its jobs in `engine`.
  void Use(storage::StorageEngine* engine) {
    Coordinator::Deps deps = Deps();
    deps.engine = engine;
    slot_.emplace(Options(), deps);
    const absl::Status restored = slot_->Restore();
    ASSERT_TRUE(restored.ok()) << restored;
  }
};

TEST_F(CoordinatorPostgresTest, ASecondOneTakesOverAndTheOldOnesWritesAreRefused) {
  auto old_engine = Open();
  Coordinator::Deps deps = Deps();
  deps.engine = old_engine.get();
  Coordinator old_one(Options(), deps);
  ASSERT_TRUE(old_one.Restore().ok());
  v1::SubmitJobRequest submit;
  *submit.mutable_spec() = Spec();
  const std::string id = old_one.SubmitJob(submit)->job_id();
  ASSERT_TRUE(old_one.Durable().ok());

  auto engine = Open();
  EXPECT_GT(engine->epoch(), old_engine->epoch());
  Use(engine.get());
  EXPECT_EQ(State(id), v1::PENDING);

  // The old one may still think that it accepts a job, but it can't tell anybody, and it ends.
  old_one.SubmitJob(submit).IgnoreError();
  const absl::Status refused = old_one.Durable();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  EXPECT_EQ(base::GetReason(refused), storage::kFenced);
  old_one.SubmitJob(submit).IgnoreError();
  EXPECT_TRUE(old_one.LogFailed());
  base::StopSignal stop;
  RunTickLoop(old_one, clock_, stop);  // returns

  RegisterAll();
  driver_.Step();
  EXPECT_EQ(State(id), v1::RUNNING);
  EXPECT_TRUE(coordinator_.Durable().ok());
  EXPECT_EQ(coordinator_.ListJobs().jobs_size(), 1);
}

TEST_F(CoordinatorPostgresTest, RestartsFindTheSameJobsWithAndWithoutASnapshot) {
  for (const int64_t every : {10000, 3, 1}) {
    SCOPED_TRACE(every);
    records_per_snapshot_ = every;
    auto engine = Open();
    Use(engine.get());
    const std::string id = Run();
    Evaluate(id, true);
    const v1::PromptLease lease = Lease(id, 1).leases(0);
    ASSERT_TRUE(coordinator_.Durable().ok());
    const std::string before = Get(id, /*steps=*/true).DebugString();

    slot_.emplace(Options(), Deps());  // lets go of the engine
    engine = Open();
    Use(engine.get());
    Report(id, lease, v1::PromptResult::STORED);
    EXPECT_EQ(Get(id).prompts().stored(), 1);
    EXPECT_EQ(Get(id).evaluations(0).correct(), 2);
    v1::CancelJobRequest cancel;
    cancel.set_job_id(id);
    ASSERT_TRUE(coordinator_.CancelJob(cancel).ok());
    ASSERT_TRUE(coordinator_.Durable().ok());
    slot_.emplace(Options(), Deps());
  }
}

TEST_F(CoordinatorPostgresTest, AServerThatIsKilledCostsTimeAndNothingElse) {
  records_per_snapshot_ = 2;
  auto engine = Open();
  Use(engine.get());
  const std::string id = Run();
  Evaluate(id, true);
  ASSERT_TRUE(coordinator_.Durable().ok());
  server().Kill();
  // Takes its place in the log, and is answered once the server is there again.
  ASSERT_TRUE(ReportStep(id, 1).ok());
  server().Start();
  ASSERT_TRUE(coordinator_.Durable().ok());
  slot_.emplace(Options(), Deps());
  engine = Open();
  Use(engine.get());
  EXPECT_EQ(Get(id, /*steps=*/true).steps_size(), 1);
  EXPECT_EQ(State(id), v1::RUNNING);
  slot_.emplace(Options(), Deps());
}

}  // namespace
}  // namespace dtrpo::coordinator

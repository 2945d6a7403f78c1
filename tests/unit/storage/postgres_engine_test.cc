#include "common/storage/postgres_engine.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "common/base/fault_points.h"
#include "common/base/retry_after.h"
#include "common/storage/postgres_connection.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/storage/postgres_server.h"
#include "tests/unit/storage/store_script.h"

namespace dtrpo::storage {
namespace {

using ::testing::HasSubstr;

class PostgresEngineTest : public ::testing::Test {
 protected:
  ~PostgresEngineTest() override { base::DisarmFaultPoints(); }
  static PostgresServer& server() {
    static PostgresServer server;
    return server;
  }
  PostgresOptions Options() const {
    return {.connection = server().connection(),
            .schema = std::string(::testing::UnitTest::GetInstance()->current_test_info()->name())};
  }
  std::unique_ptr<StorageEngine> MustOpen() const {
    auto engine = OpenPostgres(Options());
    EXPECT_TRUE(engine.ok()) << engine.status();
    return *std::move(engine);
  }
};

TEST_F(PostgresEngineTest, AfterATakeoverTheOldOwnersWritesAreRefused) {
  auto old_owner = MustOpen();
  ASSERT_TRUE(old_owner->Append("log", {.records = {"1"}}).ok());
  auto new_owner = MustOpen();
  EXPECT_GT(new_owner->epoch(), old_owner->epoch());
  const absl::Status refused = old_owner->Append("log", {.records = {"by the old one"}}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(base::GetReason(refused), kFenced);
  EXPECT_EQ(base::GetReason(old_owner->Write("log", {.records = {"again"}}).status()), kFenced);
  EXPECT_EQ(new_owner->Append("log", {.records = {"2"}})->position, 2);
  auto third = MustOpen();
  EXPECT_EQ(third->SizeOf("log")->last, 2);
}

TEST_F(PostgresEngineTest, ShardsOfOneDatabaseKnowNothingOfEachOther) {
  PostgresOptions options = Options();
  auto one = MustOpen();
  options.shard = "shard-1";
  auto other = *OpenPostgres(options);
  ASSERT_TRUE(one->Append("log", {.records = {"one"}, .bodies = {{1, "one"}}}).ok());
  ASSERT_TRUE(other->Append("log", {.records = {"other"}, .bodies = {{1, "other"}}}).ok());
  EXPECT_EQ((*one->ReadBodies("log", {1}))[0], "one");
  EXPECT_EQ((*other->ReadBodies("log", {1}))[0], "other");
}

TEST_F(PostgresEngineTest,
       AServerThatIsKilledAndComesBackLosesNothingAndNeedsNoRestartOfItsClient) {
  auto engine = MustOpen();
  const StoreScript script(5, "log", /*small=*/true);
  ScriptState state;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 10; ++i) {
      ASSERT_TRUE(engine->Append("log", script.Next(state)).ok());
      if (script.SnapshotAfter(state)) {
        ASSERT_TRUE(engine->WriteSnapshot("log", script.SnapshotOf(state)).ok());
      }
    }
    server().Kill();
    const Written step = *engine->Write("log", script.Next(state));
    const absl::Status away =
        engine->Confirm(step.sequence, Durability::kSync, absl::Milliseconds(300)).status();
    EXPECT_EQ(away.code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_THAT(away.message(), HasSubstr("PostgreSQL"));
    server().Start();
    ASSERT_TRUE(engine->Confirm(step.sequence, Durability::kSync, absl::Minutes(1)).ok());
    if (script.SnapshotAfter(state)) {
      ASSERT_TRUE(engine->WriteSnapshot("log", script.SnapshotOf(state)).ok());
    }
  }
  engine = MustOpen();
  const auto found = script.Check(*engine);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->steps, state.steps);
}

TEST_F(PostgresEngineTest, ABurstOfStepsNeedsFewTransactions) {
  std::atomic<int> transactions = 0;
  PostgresOptions options = Options();
  options.on_sync = [&](absl::Duration, int64_t) { ++transactions; };
  auto engine = *OpenPostgres(options);
  Sequence last = 0;
  constexpr int kSteps = 500;
  for (int i = 0; i < kSteps; ++i) last = engine->Write("log", {.records = {"r"}})->sequence;
  ASSERT_TRUE(engine->Confirm(last, Durability::kSync, absl::Minutes(1)).ok());
  EXPECT_GT(transactions, 0);
  EXPECT_LT(transactions, kSteps / 4);
}

TEST_F(PostgresEngineTest, OtherFormatsAreRefusedInWords) {
  MustOpen()->Close().IgnoreError();
  PostgresConnection connection = *PostgresConnection::Connect(server().connection());
  const std::string table = Options().schema + ".format";
  ASSERT_TRUE(connection.Run("UPDATE " + table + " SET version = 2").ok());
  EXPECT_THAT(OpenPostgres(Options()).status().message(), HasSubstr("a newer program wrote it"));
  ASSERT_TRUE(connection.Run("UPDATE " + table + " SET version = 0").ok());
  EXPECT_THAT(OpenPostgres(Options()).status().message(), HasSubstr("no migration"));
  PostgresOptions odd = Options();
  odd.schema = "a; DROP TABLE x";
  EXPECT_EQ(OpenPostgres(odd).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(PostgresEngineTest, NoServerIsSaidInTime) {
  const auto engine =
      OpenPostgres({.connection = "host=/nowhere", .open_timeout = absl::Milliseconds(200)});
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(engine.status().message(), HasSubstr("/nowhere"));
}

}  // namespace
}  // namespace dtrpo::storage

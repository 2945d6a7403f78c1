#include "services/coordinator/coordinator_config.h"

#include <gtest/gtest.h>

#include <string>

namespace dtrpo::coordinator {
namespace {

v1::CoordinatorConfig Valid() {
  v1::CoordinatorConfig config = DefaultCoordinatorConfig();
  config.add_replay("127.0.0.1:4000");
  return config;
}

std::string FirstProblem(const v1::CoordinatorConfig& config) {
  const auto problems = CheckCoordinatorConfig(config);
  return problems.empty() ? "" : problems.front().path;
}

TEST(CoordinatorConfigTest, TheDefaultsNeedOnlyTheReplayStore) {
  EXPECT_EQ(FirstProblem(Valid()), "");
  EXPECT_EQ(FirstProblem(DefaultCoordinatorConfig()), "replay");
}

TEST(CoordinatorConfigTest, ProblemsAreNamedByTheirField) {
  v1::CoordinatorConfig config = Valid();
  config.set_replay(0, "nonsense");
  EXPECT_EQ(FirstProblem(config), "replay[0]");
  config = Valid();
  config.add_replay("127.0.0.1");
  EXPECT_EQ(FirstProblem(config), "replay[1]");
  config = Valid();
  config.set_lease_ms(0);
  EXPECT_EQ(FirstProblem(config), "lease_ms");
  config = Valid();
  config.set_max_job_attempts(0);
  EXPECT_EQ(FirstProblem(config), "max_job_attempts");
}

TEST(CoordinatorConfigTest, AnEngineNeedsItsPlace) {
  v1::CoordinatorConfig config = Valid();
  EXPECT_EQ(ChoiceOf(config).engine, "memory");
  config.set_path("store");
  EXPECT_EQ(ChoiceOf(config).engine, "rocksdb");
  config.set_engine("postgres");
  EXPECT_EQ(FirstProblem(config), "postgres");
  config.set_postgres("host=db");
  EXPECT_EQ(FirstProblem(config), "");
  EXPECT_EQ(ChoiceOf(config).shard, "coordinator");
  config.set_engine("rocksdb");
  config.clear_path();
  EXPECT_EQ(FirstProblem(config), "path");
  config.set_engine("tape");
  EXPECT_EQ(FirstProblem(config), "engine");
}

TEST(CoordinatorConfigTest, AWorkerMayMissAHeartbeat) {
  v1::CoordinatorConfig config = Valid();
  config.set_heartbeat_interval_ms(1000);
  config.set_worker_timeout_ms(1999);
  EXPECT_EQ(FirstProblem(config), "worker_timeout_ms");
}

TEST(CoordinatorConfigTest, OptionsSayWhatTheFileSays) {
  v1::CoordinatorConfig config = Valid();
  config.set_lease_ms(1234);
  const Coordinator::Options options = ToOptions(config);
  EXPECT_EQ(options.job.lease, absl::Milliseconds(1234));
  EXPECT_EQ(options.job.max_prompt_attempts, 3);
  EXPECT_EQ(options.worker_timeout, absl::Seconds(5));
  EXPECT_EQ(options.replay, std::vector<std::string>{"127.0.0.1:4000"});
}

}  // namespace
}  // namespace dtrpo::coordinator

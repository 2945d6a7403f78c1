#include "services/coordinator/coordinator_config.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/rpc/address.h"

namespace dtrpo::coordinator {

v1::CoordinatorConfig DefaultCoordinatorConfig() {
  v1::CoordinatorConfig config;
  config.set_heartbeat_interval_ms(500);
  config.set_worker_timeout_ms(5000);
  config.set_lease_ms(60'000);
  config.set_max_job_attempts(3);
  config.set_max_prompt_attempts(3);
  config.set_records_per_snapshot(10000);
  return config;
}

std::vector<runtime::FieldProblem> CheckCoordinatorConfig(const v1::CoordinatorConfig& config) {
  std::vector<runtime::FieldProblem> problems;
  auto check_range = [&](const char* field, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high) {
      problems.push_back({field, absl::StrCat(value, " is not from ", low, " to ", high)});
    }
  };
  if (config.replay_size() < 1) {
    problems.push_back({"replay", "at least one shard (host:port) is needed"});
  }
  for (int i = 0; i < config.replay_size(); ++i) {
    const auto address = rpc::ParseAddress(config.replay(i));
    if (!address.ok()) {
      problems.push_back(
          {absl::StrCat("replay[", i, "]"), std::string(address.status().message())});
    }
  }
  check_range("heartbeat_interval_ms", config.heartbeat_interval_ms(), 10, 60'000);
  // Fewer than two heartbeats and a single lost one would end a job's attempt.
  check_range("worker_timeout_ms", config.worker_timeout_ms(), 2 * config.heartbeat_interval_ms(),
              3'600'000);
  check_range("lease_ms", config.lease_ms(), 100, 24 * 3'600'000);
  check_range("max_job_attempts", config.max_job_attempts(), 1, 1000);
  check_range("max_prompt_attempts", config.max_prompt_attempts(), 1, 1000);
  check_range("records_per_snapshot", config.records_per_snapshot(), 1, 1'000'000'000);
  for (const auto& [field, problem] : storage::CheckStoreChoice(ChoiceOf(config))) {
    problems.push_back({field, problem});
  }
  return problems;
}

storage::StoreChoice ChoiceOf(const v1::CoordinatorConfig& config) {
  storage::StoreChoice choice = {.engine = config.engine(),
                                 .path = config.path(),
                                 .postgres = config.postgres(),
                                 .shard = config.shard().empty() ? "coordinator" : config.shard(),
                                 .schema = "dtrpo_coordinator"};
  if (choice.engine.empty()) choice.engine = choice.path.empty() ? "memory" : "rocksdb";
  return choice;
}

Coordinator::Options ToOptions(const v1::CoordinatorConfig& config) {
  Coordinator::Options options;
  options.job.lease = absl::Milliseconds(config.lease_ms());
  options.job.max_job_attempts = config.max_job_attempts();
  options.job.max_prompt_attempts = config.max_prompt_attempts();
  options.heartbeat_interval = absl::Milliseconds(config.heartbeat_interval_ms());
  options.worker_timeout = absl::Milliseconds(config.worker_timeout_ms());
  options.replay.assign(config.replay().begin(), config.replay().end());
  options.records_per_snapshot = config.records_per_snapshot();
  if (config.server().max_message_bytes() > 0) {
    options.max_message_bytes = config.server().max_message_bytes();
  }
  options.data_roots.assign(config.data_roots().begin(), config.data_roots().end());
  return options;
}

}  // namespace dtrpo::coordinator

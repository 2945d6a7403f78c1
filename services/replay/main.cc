// dtrpo-replay: the replay store as a process.
#include <memory>
#include <vector>

#include "common/base/logging.h"
#include "common/base/status_macros.h"
#include "common/runtime/service_main.h"
#include "common/storage/memory_engine.h"
#include "services/replay/replay_metrics.h"
#include "services/replay/replay_service.h"
#include "services/replay/replay_store.h"
#include "services/replay/store_engine.h"

namespace dtrpo::replay {
namespace {

v1::ReplayConfig DefaultConfig() {
  v1::ReplayConfig config;
  config.set_engine("memory");
  config.set_max_prefetch_batches(4);
  config.set_records_per_snapshot(10000);
  return config;
}

std::vector<runtime::FieldProblem> CheckConfig(const v1::ReplayConfig& config) {
  std::vector<runtime::FieldProblem> problems = CheckEngineConfig(config);
  if (config.max_prefetch_batches() < 1 || config.max_prefetch_batches() > 1000) {
    problems.push_back({"max_prefetch_batches", "must be from 1 to 1000"});
  }
  if (config.records_per_snapshot() < 1) {
    problems.push_back({"records_per_snapshot", "must be at least 1"});
  }
  return problems;
}

absl::Status Run(runtime::ServiceHost& host, const v1::ReplayConfig& config) {
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<storage::StorageEngine> engine, OpenEngine(config));
  storage::MemoryEngine memory;  // of jobs that ask for no more
  ReplayMetrics metrics(host.metrics());
  ReplayStore store(
      {.engine = engine.get(),
       .metrics = &metrics,
       .memory_engine = &memory,
       .waits = host.wait_states(),
       .clock = host.clock(),
       .records_per_snapshot = config.records_per_snapshot(),
       // What is true only the log knows then: whoever restarts this process gets it from there.
       .on_store_failed = [&host](const absl::Status& why) { host.RequestShutdown(why); }},
      config.max_prefetch_batches());
  DTRPO_RETURN_IF_ERROR(store.Restore());
  ReplayService service(&store);
  DTRPO_RETURN_IF_ERROR(host.Start({&service}));
  host.SetReady(true);
  base::LogInfo("ready", {{"engine", config.engine()}, {"jobs", store.jobs()}});
  DTRPO_RETURN_IF_ERROR(host.RunUntilStopped([&store](absl::Time) { store.Stop(); }));
  return base::Annotate(engine->Close(), "closing the store");
}

}  // namespace
}  // namespace dtrpo::replay

int main(int argc, char** argv) {
  using dtrpo::replay::CheckConfig, dtrpo::replay::DefaultConfig, dtrpo::replay::Run;
  return dtrpo::runtime::ServiceMain(argc, argv, "replay", DefaultConfig(), CheckConfig, Run);
}

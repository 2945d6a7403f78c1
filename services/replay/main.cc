// dtrpo-replay: the replay store as a process.
#include <vector>

#include "common/base/logging.h"
#include "common/base/status_macros.h"
#include "common/runtime/service_main.h"
#include "common/storage/memory_engine.h"
#include "services/replay/replay_metrics.h"
#include "services/replay/replay_service.h"
#include "services/replay/replay_store.h"

namespace dtrpo::replay {
namespace {

v1::ReplayConfig DefaultConfig() {
  v1::ReplayConfig config;
  config.set_engine("memory");
  config.set_max_prefetch_batches(4);
  return config;
}

std::vector<runtime::FieldProblem> CheckConfig(const v1::ReplayConfig& config) {
  std::vector<runtime::FieldProblem> problems;
  if (config.engine() != "memory") problems.push_back({"engine", "must be \"memory\""});
  if (config.max_prefetch_batches() < 1 || config.max_prefetch_batches() > 1000) {
    problems.push_back({"max_prefetch_batches", "must be from 1 to 1000"});
  }
  return problems;
}

absl::Status Run(runtime::ServiceHost& host, const v1::ReplayConfig& config) {
  storage::MemoryEngine engine;
  ReplayMetrics metrics(host.metrics());
  ReplayStore store(
      {.engine = &engine, .metrics = &metrics, .waits = host.wait_states(), .clock = host.clock()},
      config.max_prefetch_batches());
  DTRPO_RETURN_IF_ERROR(store.Restore());
  ReplayService service(&store);
  DTRPO_RETURN_IF_ERROR(host.Start({&service}));
  host.SetReady(true);
  base::LogInfo("ready", {{"engine", config.engine()}, {"jobs", store.jobs()}});
  return host.RunUntilStopped([&store](absl::Time) { store.Stop(); });
}

}  // namespace
}  // namespace dtrpo::replay

int main(int argc, char** argv) {
  using dtrpo::replay::CheckConfig, dtrpo::replay::DefaultConfig, dtrpo::replay::Run;
  return dtrpo::runtime::ServiceMain(argc, argv, "replay", DefaultConfig(), CheckConfig, Run);
}

// dtrpo-coordinator --config FILE: jobs for clients, work for workers. The configuration is
// proto/dtrpo/v1/config.proto.
#include <memory>
#include <string>
#include <thread>

#include "common/base/logging.h"
#include "common/base/status_macros.h"
#include "common/runtime/service_main.h"
#include "common/storage/rocksdb_engine.h"
#include "common/wire/replay_client.h"
#include "services/coordinator/coordinator_config.h"
#include "services/coordinator/job_service.h"
#include "services/coordinator/replay_driver.h"
#include "services/coordinator/tick_loop.h"
#include "services/coordinator/worker_service.h"

namespace dtrpo::coordinator {
namespace {

absl::Status Run(runtime::ServiceHost& host, const v1::CoordinatorConfig& config) {
  const CoordinatorMetrics metrics(host.metrics());
  DTRPO_ASSIGN_OR_RETURN(const auto shards, host.channels()->CreateAll(
                                                {config.replay().begin(), config.replay().end()}));
  DTRPO_ASSIGN_OR_RETURN(const auto replay,
                         wire::MakeReplayClient(shards, {.target = "replay " + config.replay(0),
                                                         .waits = host.wait_states(),
                                                         .stop = host.stop(),
                                                         // The driver's next round is the retry.
                                                         .retry = {.max_attempts = 1}}));
  std::unique_ptr<storage::StorageEngine> engine;
  if (!config.path().empty()) {
    DTRPO_ASSIGN_OR_RETURN(engine, storage::OpenRocksDb({.folder = config.path(),
                                                         .progress = [](const std::string& what) {
                                                           base::LogInfo("store", {{"what", what}});
                                                         }}));
  }
  Coordinator coordinator(
      ToOptions(config),
      {.clock = host.clock(), .files = host.files(), .metrics = &metrics, .engine = engine.get()});
  DTRPO_RETURN_IF_ERROR(coordinator.Restore());
  ReplayDriver driver({}, &coordinator, replay.get(), &metrics, host.clock());

  JobService jobs(&coordinator, host.clock(), host.stop(), config.server().max_threads() / 2);
  WorkerService workers(&coordinator);
  DTRPO_RETURN_IF_ERROR(host.Start({&jobs, &workers}));
  host.SetReady(true);
  std::thread tick_thread([&] { RunTickLoop(coordinator, *host.clock(), *host.stop()); });
  std::thread driver_thread([&] { driver.Run(*host.stop()); });
  return host.RunUntilStopped([&](absl::Time) {
    tick_thread.join();
    driver_thread.join();
  });
}

}  // namespace
}  // namespace dtrpo::coordinator

int main(int argc, char** argv) {
  using namespace dtrpo;
  return runtime::ServiceMain<v1::CoordinatorConfig>(
      argc, argv, "coordinator", coordinator::DefaultCoordinatorConfig(),
      coordinator::CheckCoordinatorConfig, coordinator::Run);
}

// dtrpo-coordinator --config FILE: jobs for clients, work for workers. The configuration is
// proto/dtrpo/v1/config.proto.
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/runtime/service_main.h"
#include "common/storage/store_choice.h"
#include "common/wire/replay_client.h"
#include "common/wire/replay_view_client.h"
#include "common/wire/wait_states.h"
#include "services/coordinator/coordinator_config.h"
#include "services/coordinator/job_service.h"
#include "services/coordinator/peer_watch.h"
#include "services/coordinator/replay_driver.h"
#include "services/coordinator/tick_loop.h"
#include "services/coordinator/worker_service.h"

namespace dtrpo::coordinator {
namespace {

std::vector<PeerWatch::Shard> ShardsToWatch(
    const std::vector<std::shared_ptr<grpc::Channel>>& channels,
    const v1::CoordinatorConfig& config) {
  std::vector<PeerWatch::Shard> shards;
  for (size_t i = 0; i < channels.size(); ++i) {
    const std::string& address = config.replay(static_cast<int>(i));
    const std::shared_ptr<wire::ReplayViewClient> view = wire::MakeReplayViewClient(
        channels[i], {.target = absl::StrCat("replay ", address), .retry = {.max_attempts = 1}});
    shards.push_back({.address = address,
                      .ask = [channel = channels[i], view](
                                 absl::Time deadline) -> absl::StatusOr<PeerWatch::Shard::Answer> {
                        DTRPO_ASSIGN_OR_RETURN(std::vector<v1::WaitState> waits,
                                               wire::GetWaitStates(channel, deadline));
                        DTRPO_ASSIGN_OR_RETURN(const v1::ListReplayJobsResponse jobs,
                                               view->ListJobs(deadline));
                        int64_t pairs = 0, available = 0, bytes = 0;
                        for (const auto& job : jobs.jobs()) {
                          pairs += job.stats().items();
                          available += job.stats().available_items();
                          bytes += job.stats().bytes();
                        }
                        return PeerWatch::Shard::Answer{
                            .waits = std::move(waits),
                            .state = absl::StrCat("holds ", pairs, " pairs (", bytes, " bytes), ",
                                                  available, " for the next batch")};
                      }});
  }
  return shards;
}

absl::Status Run(runtime::ServiceHost& host, const v1::CoordinatorConfig& config) {
  const CoordinatorMetrics metrics(host.metrics());
  DTRPO_ASSIGN_OR_RETURN(const auto shards, host.channels()->CreateAll(
                                                {config.replay().begin(), config.replay().end()},
                                                {rpc::Role::kReplay}));
  DTRPO_ASSIGN_OR_RETURN(
      const auto replay,
      wire::ConnectReplay(*host.channels(), {config.replay().begin(), config.replay().end()},
                          {.target = "replay",
                           .waits = host.wait_states(),
                           .stop = host.stop(),
                           // The driver's next round is the retry.
                           .retry = {.max_attempts = 1}}));
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<storage::StorageEngine> engine,
                         storage::OpenStore(ChoiceOf(config)));
  PeerWatch peers(ShardsToWatch(shards, config), host.wait_states(), &metrics, host.clock());
  Coordinator coordinator(ToOptions(config), {.clock = host.clock(),
                                              .files = host.files(),
                                              .metrics = &metrics,
                                              .engine = engine.get(),
                                              .peers = &peers});
  const absl::Time started = host.clock()->Now();
  DTRPO_RETURN_IF_ERROR(coordinator.Restore());
  metrics.recovery_seconds->Set(absl::ToDoubleSeconds(host.clock()->Now() - started));
  ReplayDriver driver({}, &coordinator, replay.get(), &metrics, host.clock());

  JobService jobs(&coordinator, host.clock(), host.stop(), config.server().max_threads() / 2);
  WorkerService workers(&coordinator);
  DTRPO_RETURN_IF_ERROR(host.Start({&jobs, &workers}));
  host.SetReady(true);
  std::thread tick_thread([&] { RunTickLoop(coordinator, *host.clock(), *host.stop()); });
  std::thread driver_thread([&] { driver.Run(*host.stop()); });
  std::thread peers_thread([&] { peers.Run(*host.stop()); });
  return host.RunUntilStopped([&](absl::Time) {
    tick_thread.join();
    driver_thread.join();
    peers_thread.join();
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

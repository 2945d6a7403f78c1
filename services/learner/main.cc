// dtrpo-learner: turns numbered batches into weights and pushes them to the rollouts.
#include <optional>
#include <thread>
#include <utility>

#include "common/base/status_macros.h"
#include "common/collectives/rendezvous_store.h"
#include "common/model/device.h"
#include "common/model/torch_runtime.h"
#include "common/runtime/service_main.h"
#include "common/runtime/worker_config.h"
#include "services/learner/learner_metrics.h"
#include "services/learner/learner_worker.h"

namespace dtrpo::learner {
namespace {

absl::Status Run(runtime::ServiceHost& host, const v1::WorkerConfig& config) {
  model::SetThreads(config.threads());
  DTRPO_ASSIGN_OR_RETURN(const auto channel,
                         host.channels()->Create(config.coordinator(), {rpc::Role::kCoordinator}));
  wire::WorkerClient coordinator(channel);
  const LearnerMetrics metrics(host.metrics());
  DTRPO_ASSIGN_OR_RETURN(const auto rendezvous,
                         collectives::RendezvousStore::Listen(config.rendezvous_listen()));
  DTRPO_ASSIGN_OR_RETURN(const std::optional<int32_t> ordinal, runtime::OrdinalOf(config));
  DTRPO_ASSIGN_OR_RETURN(const torch::Device device,
                         model::ParseDevice(config.device(), ordinal.value_or(0)));
  DTRPO_RETURN_IF_ERROR(host.Start({}));

  v1::RegisterWorkerRequest registration = runtime::Registration(host, "learner");
  registration.set_rendezvous_address(runtime::RendezvousAddressOf(config, rendezvous->address()));
  if (ordinal.has_value()) registration.set_ordinal(*ordinal);
  LearnerWorker worker({.registration = std::move(registration),
                        .call_timeout = absl::Milliseconds(config.rpc_timeout_ms()),
                        .device = device,
                        .data_roots = {config.data_roots().begin(), config.data_roots().end()}},
                       {.coordinator = &coordinator,
                        .channels = host.channels(),
                        .files = host.files(),
                        .clock = host.clock(),
                        .waits = host.wait_states(),
                        .metrics = &metrics});
  host.SetReady(true);
  std::thread loop([&worker] { worker.Run(); });
  return host.RunUntilStopped([&](absl::Time) {
    worker.Stop();
    loop.join();
  });
}

}  // namespace
}  // namespace dtrpo::learner

int main(int argc, char** argv) {
  using namespace dtrpo;
  return runtime::ServiceMain<v1::WorkerConfig>(argc, argv, "learner",
                                                runtime::DefaultWorkerConfig(),
                                                runtime::CheckWorkerConfig, learner::Run);
}

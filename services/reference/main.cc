// dtrpo-reference: scores trajectories with the frozen base model of the job at hand.
#include <thread>

#include "common/base/status_macros.h"
#include "common/model/device.h"
#include "common/model/torch_runtime.h"
#include "common/runtime/service_main.h"
#include "common/runtime/worker_config.h"
#include "services/reference/reference_metrics.h"
#include "services/reference/reference_scorer.h"
#include "services/reference/reference_service.h"
#include "services/reference/reference_worker.h"

namespace dtrpo::reference {
namespace {

absl::Status Run(runtime::ServiceHost& host, const v1::WorkerConfig& config) {
  model::SetThreads(config.threads());
  DTRPO_ASSIGN_OR_RETURN(const torch::Device device, model::ParseDevice(config.device()));
  DTRPO_ASSIGN_OR_RETURN(const auto channel,
                         host.channels()->Create(config.coordinator(), {rpc::Role::kCoordinator}));
  wire::WorkerClient coordinator(channel);
  const ReferenceMetrics metrics(host.metrics());
  ReferenceScorer scorer({.batch_trajectories = config.batch_sequences(), .device = device},
                         host.clock(), &metrics);
  ReferenceService service(&scorer);
  DTRPO_RETURN_IF_ERROR(host.Start({&service}));

  ReferenceWorker worker(runtime::Registration(host, "reference"), &scorer, &coordinator,
                         host.clock(), host.wait_states(),
                         {config.data_roots().begin(), config.data_roots().end()});
  host.SetReady(true);
  std::thread loop([&worker] { worker.Run(); });
  return host.RunUntilStopped([&](absl::Time) {
    worker.Stop();
    loop.join();
  });
}

}  // namespace
}  // namespace dtrpo::reference

int main(int argc, char** argv) {
  using namespace dtrpo;
  return runtime::ServiceMain<v1::WorkerConfig>(argc, argv, "reference",
                                                runtime::DefaultWorkerConfig(),
                                                runtime::CheckWorkerConfig, reference::Run);
}

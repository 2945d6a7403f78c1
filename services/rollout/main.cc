// dtrpo-rollout: samples, judges and pairs answers to the prompts it leases.
#include <thread>

#include "common/base/status_macros.h"
#include "common/model/device.h"
#include "common/model/torch_runtime.h"
#include "common/runtime/service_main.h"
#include "common/runtime/worker_config.h"
#include "common/weights/version_store.h"
#include "services/rollout/generate_service.h"
#include "services/rollout/rollout_metrics.h"
#include "services/rollout/rollout_worker.h"
#include "services/rollout/served_job.h"
#include "services/rollout/text_generator.h"
#include "services/rollout/weights_service.h"

namespace dtrpo::rollout {
namespace {

absl::Status Run(runtime::ServiceHost& host, const v1::WorkerConfig& config) {
  model::SetThreads(config.threads());
  DTRPO_ASSIGN_OR_RETURN(const torch::Device device, model::ParseDevice(config.device()));
  DTRPO_ASSIGN_OR_RETURN(const auto channel,
                         host.channels()->Create(config.coordinator(), {rpc::Role::kCoordinator}));
  wire::WorkerClient coordinator(channel);
  const RolloutMetrics metrics(host.metrics());
  weights::VersionStore versions;
  WeightsService weights_service(&versions, host.clock(), &metrics);
  ServedJobSlot served_job;
  TextGenerator generator({.calls = config.max_generate_calls(),
                           .prompt_tokens = config.max_generate_prompt_tokens(),
                           .new_tokens = config.max_generate_new_tokens(),
                           .cache_bytes = config.kv_cache_bytes()},
                          &served_job, &versions, host.clock(), &metrics);
  GenerateService generate_service(&generator, host.clock());
  DTRPO_RETURN_IF_ERROR(host.Start({&weights_service, &generate_service}));

  RolloutWorker worker(
      {.registration = runtime::Registration(host, "rollout"),
       .call_timeout = absl::Milliseconds(config.rpc_timeout_ms()),
       .lease_prompts = config.lease_prompts(),
       .batch = {.sequences = config.batch_sequences(), .cache_bytes = config.kv_cache_bytes()},
       .device = device,
       .data_roots = {config.data_roots().begin(), config.data_roots().end()}},
      {.coordinator = &coordinator,
       .channels = host.channels(),
       .versions = &versions,
       .weights_service = &weights_service,
       .served_job = &served_job,
       .clock = host.clock(),
       .waits = host.wait_states(),
       .metrics = &metrics});
  host.SetReady(true);
  std::thread loop([&worker] { worker.Run(); });
  return host.RunUntilStopped([&](absl::Time deadline) {
    // Answers under way may end, as long as there is time to break them off in order.
    generator.StartDraining(host.clock()->Now() + (deadline - host.clock()->Now()) / 2);
    worker.Stop();
    loop.join();
  });
}

}  // namespace
}  // namespace dtrpo::rollout

int main(int argc, char** argv) {
  using namespace dtrpo;
  return runtime::ServiceMain<v1::WorkerConfig>(argc, argv, "rollout",
                                                runtime::DefaultWorkerConfig(),
                                                runtime::CheckWorkerConfig, rollout::Run);
}

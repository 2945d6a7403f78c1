#include "common/runtime/worker_config.h"

#include <unistd.h>

#include "common/base/hash.h"

namespace dtrpo::runtime {

v1::WorkerConfig DefaultWorkerConfig() {
  v1::WorkerConfig config;
  config.set_threads(1);
  config.set_batch_sequences(64);
  config.set_rpc_timeout_ms(30000);
  config.set_lease_prompts(8);
  config.set_max_generate_calls(2);
  config.set_max_generate_prompt_tokens(4096);
  config.set_max_generate_new_tokens(2048);
  config.set_kv_cache_bytes(int64_t{4} << 30);
  return config;
}

std::vector<FieldProblem> CheckWorkerConfig(const v1::WorkerConfig& config) {
  std::vector<FieldProblem> problems;
  if (config.coordinator().empty()) {
    problems.push_back({"coordinator", "must be the coordinator's host:port"});
  } else if (const auto address = rpc::ParseAddress(config.coordinator()); !address.ok()) {
    problems.push_back({"coordinator", std::string(address.status().message())});
  }
  const auto in_range = [&](const char* field, int64_t value, int64_t low, int64_t high) {
    if (value >= low && value <= high) return;
    problems.push_back(
        {field, "must be from " + std::to_string(low) + " to " + std::to_string(high)});
  };
  in_range("threads", config.threads(), 1, 1024);
  in_range("batch_sequences", config.batch_sequences(), 1, 65536);
  in_range("rpc_timeout_ms", config.rpc_timeout_ms(), 100, 3600000);
  in_range("lease_prompts", config.lease_prompts(), 1, 4096);
  in_range("max_generate_calls", config.max_generate_calls(), 0, 64);
  in_range("max_generate_prompt_tokens", config.max_generate_prompt_tokens(), 1, 1 << 20);
  in_range("max_generate_new_tokens", config.max_generate_new_tokens(), 1, 1 << 20);
  in_range("kv_cache_bytes", config.kv_cache_bytes(), 1 << 20, int64_t{1} << 50);
  return problems;
}

v1::RegisterWorkerRequest Registration(const ServiceHost& host, const std::string& role) {
  v1::RegisterWorkerRequest request;
  request.set_role(role);
  request.set_address(host.address());
  request.set_metrics_address(host.metrics_address());
  request.set_pid(getpid());
  // Another process never has the same address, pid and start; the same process always does.
  request.set_incarnation(
      base::Hex64(base::StableHash(host.address(), static_cast<uint64_t>(getpid()),
                                   static_cast<uint64_t>(absl::ToUnixNanos(host.clock()->Now())))));
  return request;
}

}  // namespace dtrpo::runtime

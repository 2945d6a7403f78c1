#include "common/runtime/worker_config.h"

#include <netdb.h>
#include <unistd.h>

#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/hash.h"

namespace dtrpo::runtime {
namespace {

constexpr char kHostName[] = "hostname";

std::string HostName() {
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

// What this host's name stands for: in a container /etc/hosts has the container's own address.
std::string HostAddress() {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string name = HostName();
  if (getaddrinfo(name.c_str(), nullptr, &hints, &found) != 0) return name;
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, freeaddrinfo);
  char text[NI_MAXHOST] = {};
  const int failed =
      getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST);
  return failed == 0 ? text : name;
}

}  // namespace

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
  config.set_device("cpu");
  config.set_rendezvous_listen("127.0.0.1:0");
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
  const auto reachable = [&](const char* field, const std::string& value) {
    const auto address = rpc::ParseAddress(value);
    const absl::Status status =
        address.ok() ? rpc::CheckInsecureAllowed(
                           *address, config.server().insecure() || config.insecure_rendezvous())
                     : address.status();
    if (!status.ok()) problems.push_back({field, std::string(status.message())});
  };
  reachable("rendezvous_listen", config.rendezvous_listen());
  if (!config.rendezvous_address().empty()) {
    reachable("rendezvous_address", config.rendezvous_address());
  }
  int32_t ordinal = 0;
  const bool is_number = absl::SimpleAtoi(config.ordinal(), &ordinal) && ordinal >= 0;
  if (!config.ordinal().empty() && config.ordinal() != kHostName && !is_number) {
    problems.push_back({"ordinal", "must be a number from 0, or \"hostname\""});
  }
  return problems;
}

std::optional<int32_t> OrdinalOfHost(absl::string_view host_name) {
  host_name = host_name.substr(0, host_name.find('.'));
  size_t digits = host_name.size();
  while (digits > 0 && absl::ascii_isdigit(host_name[digits - 1])) --digits;
  int32_t ordinal = 0;
  if (!absl::SimpleAtoi(host_name.substr(digits), &ordinal)) return std::nullopt;
  return ordinal;
}

std::string RendezvousAddressOf(const v1::WorkerConfig& config, const std::string& bound) {
  if (config.rendezvous_address().empty()) return bound;
  return absl::StrReplaceAll(config.rendezvous_address(), {{"{hostname}", HostName()}});
}

absl::StatusOr<std::optional<int32_t>> OrdinalOf(const v1::WorkerConfig& config) {
  if (config.ordinal().empty()) return std::nullopt;
  int32_t ordinal = 0;
  if (absl::SimpleAtoi(config.ordinal(), &ordinal)) return ordinal;
  const std::string name = HostName();
  const std::optional<int32_t> of_host = OrdinalOfHost(name);
  if (!of_host.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("ordinal: the host's name \"", name, "\" doesn't end in digits"));
  }
  return of_host;
}

std::string ReachableAddress(const std::string& bound) {
  absl::StatusOr<rpc::Address> address = rpc::ParseAddress(bound);
  if (!address.ok() || (address->host != "0.0.0.0" && address->host != "::")) return bound;
  address->host = HostAddress();
  return address->ToString();
}

v1::RegisterWorkerRequest Registration(const ServiceHost& host, const std::string& role) {
  v1::RegisterWorkerRequest request;
  request.set_role(role);
  request.set_address(ReachableAddress(host.address()));
  request.set_metrics_address(ReachableAddress(host.metrics_address()));
  request.set_pid(getpid());
  // Another process never has the same address, pid and start; the same process always does.
  request.set_incarnation(
      base::Hex64(base::StableHash(host.address(), static_cast<uint64_t>(getpid()),
                                   static_cast<uint64_t>(absl::ToUnixNanos(host.clock()->Now())))));
  return request;
}

}  // namespace dtrpo::runtime

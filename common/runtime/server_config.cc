#include "common/runtime/server_config.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/logging.h"
#include "common/rpc/address.h"
#include "common/rpc/channel_factory.h"
#include "common/rpc/rpc_server.h"

namespace dtrpo::runtime {

v1::ServerConfig DefaultServerConfig() {
  v1::ServerConfig config;
  config.set_listen("127.0.0.1:0");
  config.set_metrics_listen("127.0.0.1:0");
  config.set_log_level("info");
  config.set_drain_timeout_ms(10'000);
  config.set_max_message_bytes(rpc::kDefaultMaxMessageBytes);
  config.set_max_threads(32);
  const rpc::ServerLimits defaults;
  v1::ServerLimits* limits = config.mutable_limits();
  limits->set_calls_per_second(defaults.calls_per_second);
  limits->set_calls_per_peer(defaults.calls_per_peer);
  limits->set_calls_per_connection(defaults.calls_per_connection);
  limits->set_connections(defaults.connections);
  limits->set_handshake_timeout_ms(absl::ToInt64Milliseconds(defaults.handshake_timeout));
  limits->set_idle_timeout_ms(absl::ToInt64Milliseconds(defaults.idle_timeout));
  limits->set_connection_age_ms(absl::ToInt64Milliseconds(defaults.connection_age));
  limits->set_memory_bytes(defaults.memory_bytes);
  return config;
}

std::vector<FieldProblem> CheckServerConfig(const v1::ServerConfig& config,
                                            const std::string& path) {
  std::vector<FieldProblem> problems;
  auto add = [&](absl::string_view field, absl::string_view problem) {
    problems.push_back({absl::StrCat(path, ".", field), std::string(problem)});
  };
  auto check_address = [&](absl::string_view field, const std::string& text, bool allowed) {
    absl::StatusOr<rpc::Address> address = rpc::ParseAddress(text);
    absl::Status status = address.ok()
                              ? rpc::CheckInsecureAllowed(*address, config.insecure() || allowed)
                              : address.status();
    if (!status.ok()) add(field, status.message());
  };
  auto check_range = [&](absl::string_view field, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high) {
      add(field, absl::StrCat(value, " is not from ", low, " to ", high));
    }
  };
  const v1::TlsConfig& tls = config.tls();
  const bool has_tls = !tls.certificate().empty() && !tls.key().empty() && !tls.ca().empty();
  if (!has_tls && !(tls.certificate().empty() && tls.key().empty() && tls.ca().empty())) {
    add("tls", "certificate, key and ca belong together");
  }
  check_address("listen", config.listen(), has_tls);
  if (config.metrics_listen() != "off") {
    check_address("metrics_listen", config.metrics_listen(), config.insecure_metrics());
  }
  if (!config.health_listen().empty()) {
    check_address("health_listen", config.health_listen(), /*allowed=*/true);
  }
  if (absl::Status level = base::ParseLogLevel(config.log_level()).status(); !level.ok()) {
    add("log_level", level.message());
  }
  check_range("drain_timeout_ms", config.drain_timeout_ms(), 1, 3'600'000);
  check_range("max_message_bytes", config.max_message_bytes(), 64 << 10, 1 << 30);
  check_range("max_threads", config.max_threads(), 2, 4096);
  const v1::ServerLimits& limits = config.limits();
  check_range("limits.calls_per_second", limits.calls_per_second(), 1, 1'000'000);
  check_range("limits.calls_per_peer", limits.calls_per_peer(), 1, 1'000'000);
  check_range("limits.calls_per_connection", limits.calls_per_connection(), 1, 1'000'000);
  check_range("limits.connections", limits.connections(), 1, 1'000'000);
  check_range("limits.handshake_timeout_ms", limits.handshake_timeout_ms(), 100, 600'000);
  check_range("limits.idle_timeout_ms", limits.idle_timeout_ms(), 1000, 86'400'000);
  check_range("limits.connection_age_ms", limits.connection_age_ms(), 1000, 86'400'000);
  // Room for the largest messages, or they would never get through.
  check_range("limits.memory_bytes", limits.memory_bytes(), 2 * config.max_message_bytes(),
              int64_t{1} << 50);
  const double lost_request = config.faults().lost_request_probability();
  const double lost_reply = config.faults().lost_reply_probability();
  if (lost_request < 0 || lost_reply < 0 || lost_request + lost_reply > 1) {
    add("faults", "the probabilities must not be negative nor add up to more than 1");
  }
  return problems;
}

}  // namespace dtrpo::runtime

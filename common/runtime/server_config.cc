#include "common/runtime/server_config.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/logging.h"
#include "common/rpc/address.h"
#include "common/rpc/channel_factory.h"

namespace dtrpo::runtime {

v1::ServerConfig DefaultServerConfig() {
  v1::ServerConfig config;
  config.set_listen("127.0.0.1:0");
  config.set_metrics_listen("127.0.0.1:0");
  config.set_log_level("info");
  config.set_drain_timeout_ms(10'000);
  config.set_max_message_bytes(rpc::kDefaultMaxMessageBytes);
  config.set_max_threads(32);
  return config;
}

std::vector<FieldProblem> CheckServerConfig(const v1::ServerConfig& config,
                                            const std::string& path) {
  std::vector<FieldProblem> problems;
  auto add = [&](absl::string_view field, absl::string_view problem) {
    problems.push_back({absl::StrCat(path, ".", field), std::string(problem)});
  };
  auto check_address = [&](absl::string_view field, const std::string& text) {
    absl::StatusOr<rpc::Address> address = rpc::ParseAddress(text);
    absl::Status status =
        address.ok() ? rpc::CheckInsecureAllowed(*address, config.insecure()) : address.status();
    if (!status.ok()) add(field, status.message());
  };
  auto check_range = [&](absl::string_view field, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high) {
      add(field, absl::StrCat(value, " is not from ", low, " to ", high));
    }
  };
  check_address("listen", config.listen());
  if (config.metrics_listen() != "off") check_address("metrics_listen", config.metrics_listen());
  if (absl::Status level = base::ParseLogLevel(config.log_level()).status(); !level.ok()) {
    add("log_level", level.message());
  }
  check_range("drain_timeout_ms", config.drain_timeout_ms(), 1, 3'600'000);
  check_range("max_message_bytes", config.max_message_bytes(), 64 << 10, 1 << 30);
  check_range("max_threads", config.max_threads(), 2, 4096);
  const double lost_request = config.faults().lost_request_probability();
  const double lost_reply = config.faults().lost_reply_probability();
  if (lost_request < 0 || lost_reply < 0 || lost_request + lost_reply > 1) {
    add("faults", "the probabilities must not be negative nor add up to more than 1");
  }
  return problems;
}

}  // namespace dtrpo::runtime

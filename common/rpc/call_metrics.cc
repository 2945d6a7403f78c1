#include "common/rpc/call_metrics.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace dtrpo::rpc {
namespace {

base::Labels LabelsOf(absl::string_view full_method) {
  std::pair<std::string, std::string> names =
      absl::StrSplit(absl::StripPrefix(full_method, "/"), absl::MaxSplits('/', 1));
  return {{"grpc_service", std::move(names.first)}, {"grpc_method", std::move(names.second)}};
}

}  // namespace

CallMetrics::CallMetrics(base::MetricsRegistry* registry, CallSide side,
                         const std::vector<absl::string_view>& methods)
    : registry_(registry),
      prefix_(absl::StrCat("dtrpo_rpc_", side == CallSide::kServer ? "server" : "client")) {
  for (const absl::string_view name : methods) {
    Method& method = methods_[std::string(name)];
    method.seconds = Seconds(name);
    for (int code = 0; code < kCodes; ++code) method.handled[code] = Handled(name, code);
  }
}

base::Histogram* CallMetrics::Seconds(absl::string_view full_method) const {
  return registry_->GetHistogram(prefix_ + "_handling_seconds",
                                 "Time from the start of a call to its status.",
                                 base::LatencyBuckets(), LabelsOf(full_method));
}

base::Counter* CallMetrics::Handled(absl::string_view full_method, int code) const {
  base::Labels labels = LabelsOf(full_method);
  labels.emplace_back("grpc_code", absl::StatusCodeToString(static_cast<absl::StatusCode>(code)));
  return registry_->GetCounter(prefix_ + "_handled_total", "Calls that have got their status.",
                               labels);
}

void CallMetrics::Record(absl::string_view full_method, grpc::StatusCode code,
                         absl::Duration duration) const {
  // A peer may send any number as its code.
  const int known = code < 0 || code >= kCodes ? grpc::StatusCode::UNKNOWN : code;
  const auto found = methods_.find(full_method);
  const bool made = found != methods_.end();
  (made ? found->second.seconds : Seconds(full_method))->Observe(absl::ToDoubleSeconds(duration));
  (made ? found->second.handled[known] : Handled(full_method, known))->Increment();
}

base::Gauge* RunningCalls(base::MetricsRegistry& metrics) {
  return metrics.GetGauge("dtrpo_rpc_server_running_count", "Calls that are worked on.");
}

base::Gauge* MaxRunningCalls(base::MetricsRegistry& metrics) {
  return metrics.GetGauge("dtrpo_rpc_server_running_limit", "Calls that may be worked on at once.");
}

}  // namespace dtrpo::rpc

#include "common/rpc/call_metrics.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace dtrpo::rpc {

void RecordCall(base::MetricsRegistry& metrics, CallSide side, absl::string_view full_method,
                grpc::StatusCode code, absl::Duration duration) {
  const std::pair<std::string, std::string> names =
      absl::StrSplit(absl::StripPrefix(full_method, "/"), absl::MaxSplits('/', 1));
  const std::string prefix =
      absl::StrCat("dtrpo_rpc_", side == CallSide::kServer ? "server" : "client");
  base::Labels labels = {{"grpc_service", names.first}, {"grpc_method", names.second}};
  metrics
      .GetHistogram(prefix + "_handling_seconds", "Time from the start of a call to its status.",
                    base::LatencyBuckets(), labels)
      ->Observe(absl::ToDoubleSeconds(duration));
  labels.emplace_back("grpc_code", absl::StatusCodeToString(static_cast<absl::StatusCode>(code)));
  metrics.GetCounter(prefix + "_handled_total", "Calls that have got their status.", labels)
      ->Increment();
}

base::Gauge* RunningCalls(base::MetricsRegistry& metrics) {
  return metrics.GetGauge("dtrpo_rpc_server_running_count", "Calls that are worked on.");
}

base::Gauge* MaxRunningCalls(base::MetricsRegistry& metrics) {
  return metrics.GetGauge("dtrpo_rpc_server_running_limit", "Calls that may be worked on at once.");
}

}  // namespace dtrpo::rpc

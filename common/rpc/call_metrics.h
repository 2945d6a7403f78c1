// Rate, errors and duration of calls, the same for servers and clients. Thread-safe: pure
// functions.
//   dtrpo_rpc_{server,client}_handled_total{grpc_service,grpc_method,grpc_code}
//   dtrpo_rpc_{server,client}_handling_seconds{grpc_service,grpc_method}
//   dtrpo_rpc_server_running_count, dtrpo_rpc_server_running_limit
#pragma once

#include <grpcpp/support/status.h>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/metrics.h"

namespace dtrpo::rpc {

enum class CallSide { kServer, kClient };

// `full_method`: "/package.Service/Method".
void RecordCall(base::MetricsRegistry& metrics, CallSide side, absl::string_view full_method,
                grpc::StatusCode code, absl::Duration duration);

// Calls that a server works on; it may work on `max_threads` at once (ServerOptions).
base::Gauge* RunningCalls(base::MetricsRegistry& metrics);
base::Gauge* MaxRunningCalls(base::MetricsRegistry& metrics);

}  // namespace dtrpo::rpc

// Rate, errors and duration of calls, the same for servers and clients. Thread-safe.
//   dtrpo_rpc_{server,client}_handled_total{grpc_service,grpc_method,grpc_code}
//   dtrpo_rpc_{server,client}_handling_seconds{grpc_service,grpc_method}
//   dtrpo_rpc_server_running_count, dtrpo_rpc_server_running_limit
#pragma once

#include <grpcpp/support/status.h>

#include <array>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/metrics.h"

namespace dtrpo::rpc {

enum class CallSide { kServer, kClient };

class CallMetrics {
 public:
  // `methods`, each "/package.Service/Method", have all their series from the start, with every
  // code, so that rate() sees a first error; others come with their first call. `registry` outlives
  // the object.
  CallMetrics(base::MetricsRegistry* registry, CallSide side,
              const std::vector<absl::string_view>& methods);

  // REQUIRES: a method whose name no caller chooses.
  void Record(absl::string_view full_method, grpc::StatusCode code, absl::Duration duration) const;

 private:
  static constexpr int kCodes = 17;  // OK to UNAUTHENTICATED
  struct Method {
    base::Histogram* seconds;
    std::array<base::Counter*, kCodes> handled;
  };
  base::Histogram* Seconds(absl::string_view full_method) const;
  base::Counter* Handled(absl::string_view full_method, int code) const;

  base::MetricsRegistry* const registry_;
  const std::string prefix_;
  std::map<std::string, Method, std::less<>> methods_;  // filled once
};

// Calls that a server works on; it may work on `max_threads` at once (ServerOptions).
base::Gauge* RunningCalls(base::MetricsRegistry& metrics);
base::Gauge* MaxRunningCalls(base::MetricsRegistry& metrics);

}  // namespace dtrpo::rpc

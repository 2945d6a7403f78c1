// What happens to every outgoing call. Thread-safe.
//   1. Metrics: see call_metrics.h.
//   2. Error detail: `dtrpo-error-bin` becomes the status's error_details.
//   3. Deadline and identity: a call without a deadline is refused here with INVALID_ARGUMENT;
//      protocol version, role and worker id are attached.
//   4. Injected faults: a lost request never leaves this process; a lost reply is thrown away after
//      the server has acted. Both look like UNAVAILABLE, as a broken connection does.
#pragma once

#include <grpcpp/support/client_interceptor.h>

#include <memory>
#include <string>
#include <vector>

#include "common/rpc/call_metrics.h"
#include "common/rpc/fault_injector.h"

namespace dtrpo::rpc {

// Who calls: what the server's logs and rules see.
struct ClientIdentity {
  std::string role = {};       // "rollout", "learner", "client", ...
  std::string worker_id = {};  // "rollout-0"; may be empty
};

// `metrics` and `faults` outlive the channel.
std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>>
MakeClientInterceptors(const ClientIdentity& identity, const CallMetrics* metrics,
                       FaultInjector* faults);

}  // namespace dtrpo::rpc

// What happens to every incoming call. Thread-safe.
//   1. Metrics: see call_metrics.h.
//   2. Limits: a call beyond those of call_limiter.h is marked, so that Serve() doesn't let it act,
//      and ends with the limiter's status. Health and reflection aren't counted.
//   3. Error detail: the status's error_details travel as `dtrpo-error-bin`.
//   4. A full thread pool is told as back-pressure: RESOURCE_EXHAUSTED, reason "server_busy", with
//      a retry-after.
//   5. A call of ours without a deadline never ends well: INVALID_ARGUMENT. (gRPC's interceptors
//      can't stop a handler from running; Serve() in serve.h refuses such calls before they act.
//      This one catches a handler that forgot Serve().)
#pragma once

#include <grpcpp/support/server_interceptor.h>

#include <memory>
#include <vector>

#include "common/base/metrics.h"
#include "common/rpc/call_limiter.h"
#include "common/rpc/call_metrics.h"

namespace dtrpo::rpc {

// All outlive the server. `running`: calls that are worked on.
std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>>
MakeServerInterceptors(const CallMetrics* metrics, base::Gauge* running, CallLimiter* limiter);

}  // namespace dtrpo::rpc

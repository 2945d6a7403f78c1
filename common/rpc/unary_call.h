// One outgoing unary call with its deadline, as absl::StatusOr. Thread-safe: no state.
//
//   return UnaryCall(stub_.get(), &v1::ReplayService::StubInterface::Insert, request,
//                    {.deadline = deadline, .job_id = job});
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/rpc/status_translation.h"

namespace dtrpo::rpc {

struct CallOptions {
  absl::Time deadline;      // required: the client's interceptor refuses a call without one
  std::string job_id = {};  // travels as metadata, for logs and fencing; empty: no job
  int32_t attempt = 0;      // 0: not fenced
};

// For calls that UnaryCall doesn't cover (streams).
void PrepareContext(const CallOptions& options, grpc::ClientContext* context);

template <typename Stub, typename Interface, typename Request, typename Response>
absl::StatusOr<Response> UnaryCall(Stub* stub,
                                   grpc::Status (Interface::*method)(grpc::ClientContext*,
                                                                     const Request&, Response*),
                                   const Request& request, const CallOptions& options) {
  grpc::ClientContext context;
  PrepareContext(options, &context);
  Response response;
  const grpc::Status status = (stub->*method)(&context, request, &response);
  if (!status.ok()) return FromGrpcStatus(status);
  return response;
}

}  // namespace dtrpo::rpc

// The frame of every RPC handler: checks the call, runs the domain function, translates its status.
// Thread-safe: no state.
//
//   grpc::Status Insert(grpc::ServerContext* context, const v1::InsertRequest* request,
//                       v1::InsertResponse* response) override {
//     return rpc::Serve(*context, [&](const rpc::IncomingCall& call) -> absl::Status {
//       DTRPO_ASSIGN_OR_RETURN(*response, table_->Insert(*request, call.deadline));
//       return absl::OkStatus();
//     });
//   }
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/rpc/status_translation.h"

namespace dtrpo::rpc {

inline constexpr char kNoDeadlineMessage[] = "the call has no deadline; every call needs one";

struct IncomingCall {
  absl::Time deadline;  // of the caller; nothing done for this call may wait longer
  std::string peer;     // "ipv4:127.0.0.1:51234"
  // Of the caller's certificate; in plain text what the caller says of itself, empty for foreign
  // tools.
  std::string role;
  bool authenticated = false;  // `role` is of a certificate
  std::string worker_id;
  std::string job_id;  // empty when the call is about no job
  int32_t attempt = 0;
};

bool HasDeadline(const grpc::ServerContextBase& context);

// RESOURCE_EXHAUSTED for a call beyond the server's limits; INVALID_ARGUMENT without a deadline;
// FAILED_PRECONDITION (reason "protocol_version") when the caller speaks another version. A caller
// that names no version (grpcurl) is accepted.
absl::StatusOr<IncomingCall> AcceptCall(const grpc::ServerContextBase& context);

// `body(const IncomingCall&)` returns absl::Status. Also for streaming handlers.
template <typename Body>
grpc::Status Serve(const grpc::ServerContextBase& context, Body&& body) {
  absl::StatusOr<IncomingCall> call = AcceptCall(context);
  return ToGrpcStatus(call.ok() ? body(*call) : call.status());
}

}  // namespace dtrpo::rpc

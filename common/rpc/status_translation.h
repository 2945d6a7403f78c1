// absl::Status <-> grpc::Status, here and nowhere else. Thread-safe: pure functions.
//
// Codes are numerically equal. Reason and retry-after (common/base/retry_after.h) travel as a
// dtrpo.v1.ErrorDetail: within a process as the grpc::Status's error_details, on the wire as the
// trailing metadata `dtrpo-error-bin`; the interceptors move them between the two. (Not as gRPC's
// own grpc-status-details-bin: other tools insist on a google.rpc.Status there.)
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace dtrpo::rpc {

grpc::Status ToGrpcStatus(const absl::Status& status);
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace dtrpo::rpc

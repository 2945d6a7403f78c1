// The metadata that every call carries, and the version of the protocol. Constants only.
#pragma once

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace dtrpo::rpc {

// Raised when proto/dtrpo/v1 changes so that old and new processes must not talk.
inline constexpr int kProtocolVersion = 1;

// gRPC wants lower-case names; "-bin" values are bytes.
inline constexpr char kProtocolKey[] = "x-dtrpo-protocol";
inline constexpr char kRoleKey[] = "x-dtrpo-role";
inline constexpr char kWorkerKey[] = "x-dtrpo-worker";
inline constexpr char kJobKey[] = "x-dtrpo-job";
inline constexpr char kAttemptKey[] = "x-dtrpo-attempt";
// Never sent: set by the server's interceptor for a call that serve.h must not let act. A caller
// who sends it refuses itself.
inline constexpr char kRefusedKey[] = "x-dtrpo-refused";
inline constexpr char kErrorDetailKey[] = "dtrpo-error-bin";  // trailing; a dtrpo.v1.ErrorDetail

// The interceptors' rules are for our own services: health checks and reflection come from foreign
// tools, which know nothing of them.
inline bool IsOwnMethod(absl::string_view full_method) {
  return absl::StartsWith(full_method, "/dtrpo.");
}

}  // namespace dtrpo::rpc

#include "common/rpc/serve.h"

#include <chrono>
#include <memory>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/retry_after.h"
#include "common/rpc/call_authorizer.h"
#include "common/rpc/metadata.h"

namespace dtrpo::rpc {
namespace {

std::string Metadata(const grpc::ServerContextBase& context, const char* key) {
  auto found = context.client_metadata().find(key);
  if (found == context.client_metadata().end()) return "";
  return std::string(found->second.data(), found->second.size());
}

}  // namespace

bool HasDeadline(const grpc::ServerContextBase& context) {
  return context.deadline() != std::chrono::system_clock::time_point::max();
}

absl::StatusOr<IncomingCall> AcceptCall(const grpc::ServerContextBase& context) {
  // The interceptor, which knows why, puts the real status in place of this one.
  if (context.client_metadata().count(kRefusedKey) > 0) {
    return absl::ResourceExhaustedError("refused");
  }
  if (!HasDeadline(context)) return absl::InvalidArgumentError(kNoDeadlineMessage);
  const std::string protocol = Metadata(context, kProtocolKey);
  if (!protocol.empty() && protocol != absl::StrCat(kProtocolVersion)) {
    absl::Status status = absl::FailedPreconditionError(absl::StrCat(
        "the caller speaks protocol version ", protocol, ", this server ", kProtocolVersion));
    base::SetReason(status, "protocol_version");
    return status;
  }
  IncomingCall call;
  call.deadline = absl::FromChrono(context.deadline());
  call.peer = context.peer();
  // Over TLS the access table has seen to it that there is a role.
  const std::shared_ptr<const grpc::AuthContext> peer = context.auth_context();
  const std::optional<Role> role = peer == nullptr ? std::nullopt : PeerRole(*peer);
  call.authenticated = role.has_value();
  call.role = role.has_value() ? std::string(RoleName(*role)) : Metadata(context, kRoleKey);
  call.worker_id = Metadata(context, kWorkerKey);
  call.job_id = Metadata(context, kJobKey);
  const std::string attempt = Metadata(context, kAttemptKey);
  if (!attempt.empty() && !absl::SimpleAtoi(attempt, &call.attempt)) {
    return absl::InvalidArgumentError(absl::StrCat(kAttemptKey, " is not a number: ", attempt));
  }
  return call;
}

}  // namespace dtrpo::rpc

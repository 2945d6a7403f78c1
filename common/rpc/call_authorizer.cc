#include "common/rpc/call_authorizer.h"

#include <grpc/grpc_security_constants.h>

#include <algorithm>
#include <string>
#include <vector>

#include "common/rpc/access_table.h"
#include "common/rpc/status_translation.h"

namespace dtrpo::rpc {
namespace {

// Methods that nobody knows share a label: callers choose them.
constexpr char kUnknownMethod[] = "/unknown/unknown";

absl::Status Check(const std::string& method, const grpc::AuthContext& context) {
  const std::optional<Role> role = PeerRole(context);
  if (role.has_value()) return CheckAccess(method, *role);
  return absl::UnauthenticatedError("the caller's certificate names no role");
}

}  // namespace

std::optional<Role> PeerRole(const grpc::AuthContext& context) {
  const std::vector<grpc::string_ref> uris =
      context.FindPropertyValues(GRPC_PEER_URI_PROPERTY_NAME);
  if (uris.size() != 1) return std::nullopt;
  return RoleOfUri({uris[0].data(), uris[0].size()});
}

grpc::Status CallAuthorizer::Process(const InputMetadata& metadata, grpc::AuthContext* context,
                                     OutputMetadata*, OutputMetadata*) {
  const auto path = metadata.find(":path");
  const std::string method =
      path == metadata.end() ? "" : std::string(path->second.data(), path->second.size());
  const grpc::Status status = ToGrpcStatus(Check(method, *context));
  if (!status.ok()) {
    const bool known = std::any_of(AccessTable().begin(), AccessTable().end(),
                                   [&](const AccessRow& row) { return row.method == method; });
    metrics_->Record(known ? method : kUnknownMethod, status.error_code(), absl::ZeroDuration());
  }
  return status;
}

}  // namespace dtrpo::rpc

// Which roles may call what, and of whom: every RPC of proto/dtrpo/v1, health and reflection.
// Thread-safe: constants. An RPC that isn't here is refused to everybody
// (AccessTableTest.EveryRpcHasARow...).
//
// The table counts where callers are known, that is over TLS; call_authorizer.h asks it before a
// handler runs.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/rpc/roles.h"

namespace dtrpo::rpc {

struct AccessRow {
  absl::string_view method;  // "/package.Service/Method"
  RoleSet callers;
  RoleSet servers;
};

absl::Span<const AccessRow> AccessTable();

// In the order of the table. Called: of ours, so without health and reflection.
std::vector<absl::string_view> MethodsServedBy(Role role);
std::vector<absl::string_view> MethodsCalledBy(Role role);

// PERMISSION_DENIED names role and method.
absl::Status CheckAccess(absl::string_view method, Role caller);

}  // namespace dtrpo::rpc

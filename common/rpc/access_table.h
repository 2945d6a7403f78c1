// Which roles may call what: every RPC of proto/dtrpo/v1, health and reflection. Thread-safe:
// constants. An RPC that isn't here is refused to everybody (AccessTableTest.EveryRpcHasARow...).
//
// The table counts where callers are known, that is over TLS; call_authorizer.h asks it before a
// handler runs.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/rpc/roles.h"

namespace dtrpo::rpc {

struct AccessRow {
  absl::string_view method;  // "/package.Service/Method"
  RoleSet callers;
};

absl::Span<const AccessRow> AccessTable();

// PERMISSION_DENIED names role and method.
absl::Status CheckAccess(absl::string_view method, Role caller);

}  // namespace dtrpo::rpc

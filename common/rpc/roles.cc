#include "common/rpc/roles.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace dtrpo::rpc {
namespace {

constexpr char kUriPrefix[] = "spiffe://dtrpo/role/";

constexpr Role kAllRoles[] = {Role::kCoordinator, Role::kReplay,  Role::kRollout,
                              Role::kReference,   Role::kLearner, Role::kReward,
                              Role::kClient,      Role::kAdmin,   Role::kMonitor};
// In the same order.
constexpr absl::string_view kNames[] = {"coordinator", "replay", "rollout", "reference", "learner",
                                        "reward",      "client", "admin",   "monitor"};
static_assert(std::size(kAllRoles) == std::size(kNames));

}  // namespace

absl::Span<const Role> AllRoles() { return kAllRoles; }

absl::string_view RoleName(Role role) { return kNames[static_cast<int>(role)]; }

std::optional<Role> ParseRole(absl::string_view name) {
  for (const Role role : kAllRoles) {
    if (RoleName(role) == name) return role;
  }
  return std::nullopt;
}

std::string RoleUri(Role role) { return absl::StrCat(kUriPrefix, RoleName(role)); }

std::optional<Role> RoleOfUri(absl::string_view uri) {
  if (!absl::ConsumePrefix(&uri, kUriPrefix)) return std::nullopt;
  return ParseRole(uri);
}

}  // namespace dtrpo::rpc

// Who a process is, as its certificate says. Thread-safe: pure functions and constants.
//
// The role stands in the certificate's URI name: "spiffe://dtrpo/role/rollout". A URI, since DNS
// names belong to machines and say where a process runs, not what it may do; organizational units
// are no names, and several authorities drop them; and SPIFFE, cert-manager (`uris:`) and service
// meshes write roles as URIs already. A certificate has one role, and no other URI.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace dtrpo::rpc {

enum class Role : uint8_t {
  kCoordinator,
  kReplay,
  kRollout,
  kReference,
  kLearner,
  kReward,   // a service of rewards (proto/dtrpo/v1/reward.proto)
  kClient,   // submits jobs and looks at them
  kAdmin,    // whatever a client may, and looks into every service
  kMonitor,  // looks, and changes nothing
};

class RoleSet {
 public:
  constexpr RoleSet(std::initializer_list<Role> roles) {
    for (const Role role : roles) bits_ |= Bit(role);
  }
  constexpr bool Has(Role role) const { return (bits_ & Bit(role)) != 0; }
  constexpr RoleSet operator|(RoleSet other) const {
    other.bits_ |= bits_;
    return other;
  }

 private:
  static constexpr uint32_t Bit(Role role) { return uint32_t{1} << static_cast<int>(role); }
  uint32_t bits_ = 0;
};

// Those that listen; a caller connects to nobody else.
inline constexpr RoleSet kServerRoles = {Role::kCoordinator, Role::kReplay,  Role::kRollout,
                                         Role::kReference,   Role::kLearner, Role::kReward};

absl::Span<const Role> AllRoles();
absl::string_view RoleName(Role role);  // "rollout"
std::optional<Role> ParseRole(absl::string_view name);

std::string RoleUri(Role role);  // "spiffe://dtrpo/role/rollout"
std::optional<Role> RoleOfUri(absl::string_view uri);

}  // namespace dtrpo::rpc

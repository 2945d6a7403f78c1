// Thread safety: pure functions but for the disk.
//
// Certificates for a development system, in the layout of the secrets that cert-manager writes:
//   DIR/ca/{tls.crt,tls.key}                  the authority; made once and kept
//   DIR/ROLE/{tls.crt,tls.key,ca.crt}         a folder for each role, made anew each time
// Files with keys can be read by their owner alone.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/rpc/roles.h"
#include "common/rpc/tls_identity.h"

namespace dtrpo::tools {

struct RoleCertificateOptions {
  std::string dir = {};
  std::vector<rpc::Role> roles = {};    // empty: all
  std::vector<std::string> hosts = {};  // beside localhost, 127.0.0.1 and ::1
  absl::Duration valid_for = absl::Hours(24 * 30);
  absl::Duration authority_valid_for = absl::Hours(24 * 365);
  absl::Time now = absl::Now();
};

// INVALID_ARGUMENT: a host that is none, an authority that is damaged or expired.
absl::Status MakeRoleCertificates(const RoleCertificateOptions& options);

// Where MakeRoleCertificates puts those of a role.
rpc::TlsFiles RoleFiles(const std::string& dir, absl::string_view role);

}  // namespace dtrpo::tools

// Thread safety: one thread. The certificate that dtrpoctl shows, from the command line or the
// environment.
#pragma once

#include "CLI/CLI.hpp"
#include "common/rpc/tls_identity.h"

namespace dtrpo::ctl {

// --tls-certificate, --tls-key and --tls-ca, else DTRPO_TLS_CERTIFICATE, DTRPO_TLS_KEY and
// DTRPO_TLS_CA. `files` outlives `app`.
void AddTlsOptions(CLI::App* app, rpc::TlsFiles* files);

// Null without files: plain text.
absl::StatusOr<std::shared_ptr<const rpc::TlsIdentity>> LoadTlsIdentity(const rpc::TlsFiles& files);

}  // namespace dtrpo::ctl

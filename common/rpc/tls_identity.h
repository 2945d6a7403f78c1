// Thread-safe. The certificate that this process shows to others, and whom it trusts: TLS with
// certificates on both sides, TLS 1.2 or newer.
//
// The three files are read again when they change (looked at every kCertificateRefresh), so
// certificates and CA are renewed without a restart: new connections use the new ones, running ones
// end at limits.connection_age_ms at the latest. Replace the files as a whole (rename, or the links
// of a Kubernetes secret); a pair that doesn't match is refused by new connections until it does.
//
// A caller doesn't look at the server's host name: pods are called by addresses that no certificate
// knows. It looks at the role instead (roles.h), which names machines can't lend each other.
#pragma once

#include <grpcpp/security/auth_metadata_processor.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/file_system.h"
#include "common/rpc/roles.h"

namespace dtrpo::rpc {

inline constexpr absl::Duration kCertificateRefresh = absl::Seconds(2);

// PEM: tls.crt, tls.key and ca.crt of a secret as cert-manager writes it.
struct TlsFiles {
  std::string certificate = {};
  std::string key = {};
  std::string ca = {};

  bool any() const { return !certificate.empty() || !key.empty() || !ca.empty(); }
};

// What a certificate says, as far as we ask.
struct CertificateFacts {
  Role role;
  absl::Time not_before, not_after;
};
// INVALID_ARGUMENT: no PEM certificate, or no URI name of a role in it, or several.
absl::StatusOr<CertificateFacts> ParseCertificate(const std::string& pem);
// When the first of the text's certificates ends. INVALID_ARGUMENT: there is none in it.
absl::StatusOr<absl::Time> FirstExpiry(const std::string& pem);

class TlsIdentity {
 public:
  // INVALID_ARGUMENT names the file: missing, not PEM, a key of another certificate, no role,
  // expired at `now`.
  static absl::StatusOr<std::shared_ptr<const TlsIdentity>> Load(
      const TlsFiles& files, base::FileSystem* file_system = base::PosixFileSystem(),
      absl::Time now = absl::Now());

  Role role() const { return role_; }

  // Callers without a certificate of our CA get no connection; `authorizer` sees each call.
  std::shared_ptr<grpc::ServerCredentials> ServerCredentials(
      std::shared_ptr<grpc::AuthMetadataProcessor> authorizer) const;
  // Connects to servers whose certificate is of our CA and has one of the roles.
  std::shared_ptr<grpc::ChannelCredentials> ChannelCredentials(RoleSet servers) const;

 private:
  TlsIdentity(Role role, std::shared_ptr<grpc::experimental::CertificateProviderInterface> files)
      : role_(role), files_(std::move(files)) {}

  const Role role_;
  const std::shared_ptr<grpc::experimental::CertificateProviderInterface> files_;
};

}  // namespace dtrpo::rpc

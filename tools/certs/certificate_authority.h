// Thread safety: one thread at a time. A certificate authority for development and tests: its key
// is a file on this machine. A cluster has cert-manager or the like (docs/security.md).
//
// Keys are of P-256; certificates are signed with SHA-256.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace dtrpo::tools {

struct PemPair {
  std::string certificate;
  std::string key;
};

struct CertificateOptions {
  std::string common_name;         // for people
  std::string uri;                 // "spiffe://dtrpo/role/rollout"; empty: none
  std::vector<std::string> hosts;  // host names and IP addresses
  absl::Time not_before, not_after;
};

class CertificateAuthority {
 public:
  static absl::StatusOr<CertificateAuthority> Create(const CertificateOptions& options);
  // INVALID_ARGUMENT when it isn't the PEM of a certificate and its key.
  static absl::StatusOr<CertificateAuthority> FromPem(const PemPair& pem);

  // A certificate for both ends of a connection. INVALID_ARGUMENT for a host that is neither a name
  // nor an address.
  absl::StatusOr<PemPair> Issue(const CertificateOptions& options) const;

  const PemPair& pem() const { return pem_; }
  absl::Time not_after() const;

 private:
  struct FreeKey {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  };
  struct FreeCertificate {
    void operator()(X509* certificate) const { X509_free(certificate); }
  };
  using Key = std::unique_ptr<EVP_PKEY, FreeKey>;
  using Certificate = std::unique_ptr<X509, FreeCertificate>;
  struct Extension {
    int nid;
    std::string value;
  };

  CertificateAuthority(Certificate certificate, Key key, PemPair pem)
      : certificate_(std::move(certificate)), key_(std::move(key)), pem_(std::move(pem)) {}
  // Signed by `issuer`'s key; null: by its own.
  static absl::StatusOr<std::pair<Certificate, Key>> Make(const CertificateOptions& options,
                                                          const std::vector<Extension>& extensions,
                                                          const CertificateAuthority* issuer);
  static PemPair ToPem(const Certificate& certificate, const Key& key);

  Certificate certificate_;
  Key key_;
  PemPair pem_;
};

}  // namespace dtrpo::tools

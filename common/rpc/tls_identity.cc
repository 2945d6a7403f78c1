#include "common/rpc/tls_identity.h"

#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"

namespace dtrpo::rpc {
namespace {

using grpc::experimental::TlsCustomVerificationCheckRequest;

template <auto kFree>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Bio = std::unique_ptr<BIO, Freer<BIO_free>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using Names = std::unique_ptr<GENERAL_NAMES, Freer<GENERAL_NAMES_free>>;

Bio Reader(const std::string& pem) {
  return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

Certificate ReadCertificate(const std::string& pem) {
  return Certificate(PEM_read_bio_X509(Reader(pem).get(), nullptr, nullptr, nullptr));
}

// No passphrase is asked for: a service has nobody to ask.
Key ReadKey(const std::string& pem) {
  const auto no_passphrase = [](char*, int, int, void*) { return -1; };
  return Key(PEM_read_bio_PrivateKey(Reader(pem).get(), nullptr, no_passphrase, nullptr));
}

absl::Time ToTime(const ASN1_TIME* time) {
  std::tm parts = {};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return absl::InfinitePast();
  return absl::FromTM(parts, absl::UTCTimeZone());
}

absl::StatusOr<Role> RoleOf(X509* certificate) {
  const Names names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  std::optional<Role> role;
  int uris = 0;
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
    role = RoleOfUri({reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                      static_cast<size_t>(ASN1_STRING_length(uri))});
    ++uris;
  }
  if (uris != 1 || !role.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("has no single URI name of a role, such as ", RoleUri(Role::kRollout)));
  }
  return *role;
}

// Checks the server's role once the handshake has checked its chain of signatures.
class ServerRoleVerifier : public grpc::experimental::ExternalCertificateVerifier {
 public:
  explicit ServerRoleVerifier(RoleSet servers) : servers_(servers) {}

  bool Verify(TlsCustomVerificationCheckRequest* request, std::function<void(grpc::Status)>,
              grpc::Status* sync_status) override {
    const std::vector<grpc::string_ref> uris = request->uri_names();
    const std::optional<Role> role =
        uris.size() == 1 ? RoleOfUri({uris[0].data(), uris[0].size()}) : std::nullopt;
    if (!role.has_value() || !servers_.Has(*role)) {
      *sync_status = grpc::Status(
          grpc::StatusCode::UNAUTHENTICATED,
          role.has_value() ? absl::StrCat("another service is wanted than a ", RoleName(*role))
                           : "the server's certificate names no role");
    }
    return true;  // done at once
  }
  void Cancel(TlsCustomVerificationCheckRequest*) override {}

 private:
  const RoleSet servers_;
};

}  // namespace

absl::StatusOr<CertificateFacts> ParseCertificate(const std::string& pem) {
  const Certificate certificate = ReadCertificate(pem);
  if (certificate == nullptr) return absl::InvalidArgumentError("holds no PEM certificate");
  DTRPO_ASSIGN_OR_RETURN(const Role role, RoleOf(certificate.get()));
  return CertificateFacts{.role = role,
                          .not_before = ToTime(X509_get0_notBefore(certificate.get())),
                          .not_after = ToTime(X509_get0_notAfter(certificate.get()))};
}

absl::StatusOr<absl::Time> FirstExpiry(const std::string& pem) {
  const Bio reader = Reader(pem);
  absl::Time first = absl::InfiniteFuture();
  while (const auto certificate =
             Certificate(PEM_read_bio_X509(reader.get(), nullptr, nullptr, nullptr))) {
    first = std::min(first, ToTime(X509_get0_notAfter(certificate.get())));
  }
  if (first < absl::InfiniteFuture()) return first;
  return absl::InvalidArgumentError("holds no PEM certificate");
}

absl::StatusOr<std::shared_ptr<const TlsIdentity>> TlsIdentity::Load(const TlsFiles& files,
                                                                     base::FileSystem* file_system,
                                                                     absl::Time now) {
  const auto read = [&](absl::string_view field,
                        const std::string& path) -> absl::StatusOr<std::string> {
    if (path.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tls.", field, ": is missing; certificate, key and ca belong together"));
    }
    absl::StatusOr<std::string> text = file_system->Read(path);
    if (text.ok()) return text;
    return absl::InvalidArgumentError(absl::StrCat("tls.", field, ": ", text.status().message()));
  };
  DTRPO_ASSIGN_OR_RETURN(const std::string certificate, read("certificate", files.certificate));
  DTRPO_ASSIGN_OR_RETURN(const std::string key, read("key", files.key));
  DTRPO_ASSIGN_OR_RETURN(const std::string ca, read("ca", files.ca));
  DTRPO_ASSIGN_OR_RETURN(const CertificateFacts facts,
                         base::Annotate(ParseCertificate(certificate),
                                        absl::StrCat("tls.certificate: ", files.certificate)));
  if (facts.not_after < now) {
    return absl::InvalidArgumentError(absl::StrCat("tls.certificate: ", files.certificate,
                                                   ": expired at ",
                                                   absl::FormatTime(facts.not_after)));
  }
  const Key parsed_key = ReadKey(key);
  if (parsed_key == nullptr ||
      X509_check_private_key(ReadCertificate(certificate).get(), parsed_key.get()) != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("tls.key: ", files.key, ": isn't the key of ", files.certificate));
  }
  if (ReadCertificate(ca) == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("tls.ca: ", files.ca, ": holds no PEM certificate"));
  }
  return std::shared_ptr<const TlsIdentity>(new TlsIdentity(
      facts.role, std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
                      files.key, files.certificate, files.ca,
                      static_cast<unsigned>(absl::ToInt64Seconds(kCertificateRefresh)))));
}

std::shared_ptr<grpc::ServerCredentials> TlsIdentity::ServerCredentials(
    std::shared_ptr<grpc::AuthMetadataProcessor> authorizer) const {
  grpc::experimental::TlsServerCredentialsOptions options(files_);
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  std::shared_ptr<grpc::ServerCredentials> credentials =
      grpc::experimental::TlsServerCredentials(options);
  credentials->SetAuthMetadataProcessor(std::move(authorizer));
  return credentials;
}

std::shared_ptr<grpc::ChannelCredentials> TlsIdentity::ChannelCredentials(RoleSet servers) const {
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(files_);
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_verify_server_certs(true);
  options.set_check_call_host(false);
  options.set_certificate_verifier(
      grpc::experimental::ExternalCertificateVerifier::Create<ServerRoleVerifier>(servers));
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace dtrpo::rpc

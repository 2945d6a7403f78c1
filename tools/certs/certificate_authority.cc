#include "tools/certs/certificate_authority.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cctype>
#include <ctime>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"

namespace dtrpo::tools {
namespace {

constexpr int kSerialBits = 127;

absl::Status OpenSslError(absl::string_view what) {
  char text[256] = {};
  ERR_error_string_n(ERR_get_error(), text, sizeof(text));
  return absl::InternalError(absl::StrCat(what, ": ", text));
}

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;

std::string Contents(const Bio& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

absl::StatusOr<std::string> AlternativeName(const std::string& host) {
  in6_addr address;
  if (inet_pton(AF_INET, host.c_str(), &address) == 1 ||
      inet_pton(AF_INET6, host.c_str(), &address) == 1) {
    return "IP:" + host;
  }
  // A comma would begin another name, of any kind.
  const auto in_name = [](char c) {
    return isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '*' || c == '_';
  };
  if (host.empty() || !std::all_of(host.begin(), host.end(), in_name)) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", host, "' is neither a host name nor an IP address"));
  }
  return "DNS:" + host;
}

}  // namespace

absl::StatusOr<std::pair<CertificateAuthority::Certificate, CertificateAuthority::Key>>
CertificateAuthority::Make(const CertificateOptions& options,
                           const std::vector<Extension>& extensions,
                           const CertificateAuthority* issuer) {
  Key key(EVP_EC_gen("P-256"));
  Certificate certificate(X509_new());
  if (key == nullptr || certificate == nullptr) return OpenSslError("making a key");
  X509* raw = certificate.get();
  X509_set_version(raw, X509_VERSION_3);
  const std::unique_ptr<BIGNUM, decltype(&BN_free)> serial(BN_new(), &BN_free);
  if (BN_rand(serial.get(), kSerialBits, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) != 1 ||
      BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(raw)) == nullptr) {
    return OpenSslError("making a serial number");
  }
  ASN1_TIME_set(X509_getm_notBefore(raw), absl::ToTimeT(options.not_before));
  ASN1_TIME_set(X509_getm_notAfter(raw), absl::ToTimeT(options.not_after));
  X509_NAME_add_entry_by_txt(X509_get_subject_name(raw), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(options.common_name.c_str()),
                             -1, -1, 0);
  X509* signer = issuer == nullptr ? raw : issuer->certificate_.get();
  X509_set_issuer_name(raw, X509_get_subject_name(signer));
  X509_set_pubkey(raw, key.get());
  X509V3_CTX context;
  X509V3_set_ctx(&context, signer, raw, nullptr, nullptr, 0);
  for (const Extension& extension : extensions) {
    const std::unique_ptr<X509_EXTENSION, decltype(&X509_EXTENSION_free)> made(
        X509V3_EXT_conf_nid(nullptr, &context, extension.nid, extension.value.c_str()),
        &X509_EXTENSION_free);
    if (made == nullptr || X509_add_ext(raw, made.get(), -1) != 1) {
      return OpenSslError(extension.value);
    }
  }
  EVP_PKEY* signing_key = issuer == nullptr ? key.get() : issuer->key_.get();
  if (X509_sign(raw, signing_key, EVP_sha256()) == 0) return OpenSslError("signing");
  return std::pair(std::move(certificate), std::move(key));
}

PemPair CertificateAuthority::ToPem(const Certificate& certificate, const Key& key) {
  PemPair pem;
  const Bio certificate_text(BIO_new(BIO_s_mem()), &BIO_free);
  PEM_write_bio_X509(certificate_text.get(), certificate.get());
  pem.certificate = Contents(certificate_text);
  const Bio key_text(BIO_new(BIO_s_mem()), &BIO_free);
  PEM_write_bio_PrivateKey(key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  pem.key = Contents(key_text);
  return pem;
}

absl::StatusOr<CertificateAuthority> CertificateAuthority::Create(
    const CertificateOptions& options) {
  DTRPO_ASSIGN_OR_RETURN(auto made, Make(options,
                                         {{NID_basic_constraints, "critical,CA:TRUE"},
                                          {NID_key_usage, "critical,keyCertSign,cRLSign"},
                                          {NID_subject_key_identifier, "hash"}},
                                         nullptr));
  PemPair pem = ToPem(made.first, made.second);
  return CertificateAuthority(std::move(made.first), std::move(made.second), std::move(pem));
}

absl::StatusOr<CertificateAuthority> CertificateAuthority::FromPem(const PemPair& pem) {
  const auto reader = [](const std::string& text) {
    return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free);
  };
  Certificate certificate(
      PEM_read_bio_X509(reader(pem.certificate).get(), nullptr, nullptr, nullptr));
  Key key(PEM_read_bio_PrivateKey(reader(pem.key).get(), nullptr, nullptr, nullptr));
  if (certificate == nullptr || key == nullptr ||
      X509_check_private_key(certificate.get(), key.get()) != 1) {
    return absl::InvalidArgumentError("not a PEM certificate and its key");
  }
  return CertificateAuthority(std::move(certificate), std::move(key), pem);
}

absl::StatusOr<PemPair> CertificateAuthority::Issue(const CertificateOptions& options) const {
  std::vector<std::string> names;
  if (!options.uri.empty()) names.push_back("URI:" + options.uri);
  for (const std::string& host : options.hosts) {
    DTRPO_ASSIGN_OR_RETURN(names.emplace_back(), AlternativeName(host));
  }
  std::vector<Extension> extensions = {{NID_basic_constraints, "critical,CA:FALSE"},
                                       {NID_key_usage, "critical,digitalSignature"},
                                       {NID_ext_key_usage, "serverAuth,clientAuth"},
                                       {NID_authority_key_identifier, "keyid"}};
  if (!names.empty()) extensions.push_back({NID_subject_alt_name, absl::StrJoin(names, ",")});
  DTRPO_ASSIGN_OR_RETURN(const auto made, Make(options, extensions, this));
  return ToPem(made.first, made.second);
}

absl::Time CertificateAuthority::not_after() const {
  std::tm parts = {};
  ASN1_TIME_to_tm(X509_get0_notAfter(certificate_.get()), &parts);
  return absl::FromTM(parts, absl::UTCTimeZone());
}

}  // namespace dtrpo::tools

#include "common/base/sha256.h"

#include <openssl/evp.h>

#include "absl/strings/escaping.h"
#include "common/base/check.h"

namespace dtrpo::base {

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  DTRPO_CHECK(context_ != nullptr);
  DTRPO_CHECK_EQ(EVP_DigestInit_ex(context_, EVP_sha256(), nullptr), 1);
}

Sha256::~Sha256() { EVP_MD_CTX_free(context_); }

void Sha256::Update(absl::string_view data) {
  DTRPO_CHECK_EQ(EVP_DigestUpdate(context_, data.data(), data.size()), 1);
}

void Sha256::Update(absl::Span<const std::byte> data) {
  Update(absl::string_view(reinterpret_cast<const char*>(data.data()), data.size()));
}

std::string Sha256::FinishHex() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  DTRPO_CHECK_EQ(EVP_DigestFinal_ex(context_, digest, &size), 1);
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), size));
}

std::string Sha256Hex(absl::string_view data) {
  Sha256 hasher;
  hasher.Update(data);
  return hasher.FinishHex();
}

}  // namespace dtrpo::base

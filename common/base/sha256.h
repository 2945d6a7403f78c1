// SHA-256 by OpenSSL (which uses the CPU's instructions): the checksum of weights versions.
// Sha256 is not thread-safe.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

struct evp_md_ctx_st;

namespace dtrpo::base {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(absl::string_view data);
  void Update(absl::Span<const std::byte> data);
  // 64 lower-case hex digits. Call once; nothing may be added afterwards.
  std::string FinishHex();

 private:
  evp_md_ctx_st* context_;
};

std::string Sha256Hex(absl::string_view data);

}  // namespace dtrpo::base

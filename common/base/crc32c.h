// CRC-32C (Castagnoli, RFC 3720 B.4): the check of weight chunks and log records. Thread-safe.
// Portable slice-by-8, about 1.5 GB/s. Detects accidents, not attackers (see sha256.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace dtrpo::base {

// The CRC of `crc`'s data followed by `data`; start with 0.
uint32_t ExtendCrc32c(uint32_t crc, absl::string_view data);
inline uint32_t Crc32c(absl::string_view data) { return ExtendCrc32c(0, data); }

}  // namespace dtrpo::base

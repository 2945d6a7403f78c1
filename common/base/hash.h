// A 64-bit hash that never changes: ids, draws and the held-out split are derived from it, so its
// values are on disk and in other people's results. Golden values in tests/unit/base.
// Not for hash tables exposed to attackers, not cryptographic (see sha256.h). StableHasher is not
// thread-safe.
//
// Definition: FNV-1a (64-bit, offset 0xcbf29ce484222325, prime 0x100000001b3) over the bytes added,
// then the finaliser of splitmix64, which repairs FNV's weak high bits. Integers are added as eight
// little-endian bytes; a text as its length (an integer) and its bytes, so ("ab","c") !=
// ("a","bc").
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace dtrpo::base {

// The finaliser of splitmix64: a bijection of 64-bit words with good avalanche.
constexpr uint64_t Mix64(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ULL;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

class StableHasher {
 public:
  constexpr StableHasher& Add(uint64_t value) {
    for (int i = 0; i < 8; ++i) AddByte(static_cast<uint8_t>(value >> (8 * i)));
    return *this;
  }
  constexpr StableHasher& Add(absl::string_view text) {
    Add(static_cast<uint64_t>(text.size()));
    for (char c : text) AddByte(static_cast<uint8_t>(c));
    return *this;
  }
  constexpr uint64_t Finish() const { return Mix64(state_); }

 private:
  constexpr void AddByte(uint8_t byte) { state_ = (state_ ^ byte) * 0x100000001b3ULL; }

  uint64_t state_ = 0xcbf29ce484222325ULL;
};

// StableHash("job-1", uint64_t{3}): every part is an integer or a text.
template <typename... Parts>
constexpr uint64_t StableHash(const Parts&... parts) {
  StableHasher hasher;
  (hasher.Add(parts), ...);
  return hasher.Finish();
}

// 16 lower-case hex digits.
inline std::string Hex64(uint64_t value) {
  return absl::StrCat(absl::Hex(value, absl::kZeroPad16));
}

}  // namespace dtrpo::base

#include "common/base/philox.h"

#include "absl/numeric/int128.h"
#include "common/base/check.h"

namespace dtrpo::base {
namespace {

constexpr uint32_t kMultiplier0 = 0xD2511F53;
constexpr uint32_t kMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kWeyl0 = 0x9E3779B9;  // golden ratio
constexpr uint32_t kWeyl1 = 0xBB67AE85;  // sqrt(3) - 1
constexpr int kRounds = 10;

constexpr uint32_t Low(uint64_t value) { return static_cast<uint32_t>(value); }
constexpr uint32_t High(uint64_t value) { return static_cast<uint32_t>(value >> 32); }

}  // namespace

PhiloxCounter Philox4x32(PhiloxCounter counter, PhiloxKey key) {
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = uint64_t{kMultiplier0} * counter[0];
    const uint64_t product1 = uint64_t{kMultiplier1} * counter[2];
    counter = {High(product1) ^ counter[1] ^ key[0], Low(product1),
               High(product0) ^ counter[3] ^ key[1], Low(product0)};
    key = {key[0] + kWeyl0, key[1] + kWeyl1};
  }
  return counter;
}

uint64_t CounterRng::At(uint64_t index) const {
  const uint64_t block = index / 2;
  const PhiloxCounter words =
      Philox4x32({Low(block), High(block), Low(stream_), High(stream_)}, {Low(seed_), High(seed_)});
  const size_t first = 2 * (index % 2);
  return uint64_t{words[first + 1]} << 32 | words[first];
}

uint64_t CounterRng::UniformInt(uint64_t n) {
  DTRPO_CHECK_GE(n, uint64_t{1});
  // The high half of word * n is uniform once the low half's first (2^64 mod n) values are refused.
  const uint64_t refused = (0 - n) % n;
  for (;;) {
    const absl::uint128 product = absl::uint128(Next()) * n;
    if (absl::Uint128Low64(product) >= refused) return absl::Uint128High64(product);
  }
}

}  // namespace dtrpo::base

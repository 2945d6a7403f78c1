// Counter-based random numbers: Philox4x32-10 of Salmon, Moraes, Dror, Shaw, "Parallel random
// numbers: as easy as 1, 2, 3" (SC 2011); checked against the known answers of Random123.
// Philox4x32 is a pure function. CounterRng is not thread-safe, but At() is and copies are cheap.
//
// Why counters: word i of stream s is a pure function of (seed, s, i). A sequence that owns a
// stream draws the same numbers whatever batch, thread or process it runs in.
#pragma once

#include <array>
#include <cstdint>

namespace dtrpo::base {

using PhiloxCounter = std::array<uint32_t, 4>;
using PhiloxKey = std::array<uint32_t, 2>;

PhiloxCounter Philox4x32(PhiloxCounter counter, PhiloxKey key);

class CounterRng {
 public:
  // Streams of one seed never overlap. Key = seed; counter = (block of two words, stream), low
  // halves first.
  CounterRng(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}

  // Word `index` of the stream, 64 random bits. Stateless.
  uint64_t At(uint64_t index) const;
  // At(index) as a double in [0, 1), multiples of 2^-53.
  double Uniform01At(uint64_t index) const { return ToUniform01(At(index)); }

  // The sequential face: word position(), then the next one.
  uint64_t Next() { return At(position_++); }
  double Uniform01() { return ToUniform01(Next()); }
  // Uniform on {0, ..., n-1}, unbiased (Lemire's rejection: takes another word with probability
  // below n / 2^64). REQUIRES: n >= 1.
  uint64_t UniformInt(uint64_t n);

  uint64_t position() const { return position_; }
  void set_position(uint64_t position) { position_ = position; }

  static double ToUniform01(uint64_t word) { return static_cast<double>(word >> 11) * 0x1.0p-53; }

 private:
  uint64_t seed_;
  uint64_t stream_;
  uint64_t position_ = 0;
};

}  // namespace dtrpo::base

#include "common/diffusion/repetition.h"

#include <algorithm>

#include "common/base/check.h"

namespace dtrpo::diffusion {

bool EndsInCycle(absl::Span<const int32_t> tokens, int32_t window) {
  DTRPO_CHECK_GE(window, kCycleRounds);
  if (tokens.size() < static_cast<size_t>(window)) return false;
  const absl::Span<const int32_t> tail = tokens.subspan(tokens.size() - window);
  for (int32_t period = 1; period <= window / kCycleRounds; ++period) {
    if (std::equal(tail.begin() + period, tail.end(), tail.begin())) return true;
  }
  return false;
}

}  // namespace dtrpo::diffusion

// Thread safety: a pure function. No torch.
#pragma once

#include <cstdint>

#include "absl/types/span.h"

namespace dtrpo::diffusion {

// Three rounds of a cycle at least: twice the same is common in good text.
inline constexpr int32_t kCycleRounds = 3;

// True if the last `window` tokens repeat a cycle of at most window / kCycleRounds tokens. False if
// there are fewer tokens. REQUIRES: window >= kCycleRounds.
bool EndsInCycle(absl::Span<const int32_t> tokens, int32_t window);

}  // namespace dtrpo::diffusion

// Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <vector>

namespace dtrpo::coordinator {

// The order in which an epoch hands out prompts 0 .. count-1: a permutation that depends on (seed,
// epoch) only, so a restarted coordinator hands out the same one. Fisher-Yates with counter-based
// random numbers. Unshuffled: 0, 1, 2, ...
std::vector<int64_t> PromptOrder(int64_t count, bool shuffle, uint64_t seed, int64_t epoch);

}  // namespace dtrpo::coordinator

// Thread safety: a pure function.
#pragma once

#include <cstdint>

namespace dtrpo::replay {

// Positions [begin, end) of a batch.
struct Slice {
  int64_t begin = 0;
  int64_t end = 0;
};

// What rank `rank` of `world` gets of a batch of `count` items: contiguous, in the batch's order,
// sizes differing by at most one, the slices of all ranks together exactly the batch. A function of
// nothing else, so a job may go on with another number of ranks.
// REQUIRES: count >= 0, 0 <= rank < world, count * world fits an int64.
constexpr Slice RankSlice(int64_t count, int64_t rank, int64_t world) {
  return {.begin = count * rank / world, .end = count * (rank + 1) / world};
}

}  // namespace dtrpo::replay

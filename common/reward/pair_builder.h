// Thread safety: pure functions.
//
// Turns the judged samples of one prompt into preference pairs: sorted by reward, the best with the
// worst, the second with the second-worst, while the rewards differ by more than min_gap. Each
// sample is in one pair at most.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::reward {

// Indices into the samples.
struct PairChoice {
  int64_t chosen = 0;
  int64_t rejected = 0;
};

// At most max_pairs, best first. Equal rewards keep the order of the samples, so the result is a
// function of the samples alone. A pair whose targets are equal is dropped, as are cancelled
// samples. REQUIRES: finite rewards.
std::vector<PairChoice> BuildPairs(absl::Span<const trajectory::Trajectory> samples, double min_gap,
                                   int32_t max_pairs);

}  // namespace dtrpo::reward

// Thread safety: a pure function. What the policies share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "absl/types/span.h"

namespace dtrpo::diffusion {

// All indices of `scores`, highest score first; equal ones by index.
inline std::vector<int32_t> RankByScore(absl::Span<const double> scores) {
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [scores](int32_t a, int32_t b) { return scores[a] > scores[b]; });
  return order;
}

// The first `count` of a ranking (all, if there are fewer), ascending.
inline std::vector<int32_t> FirstOf(std::vector<int32_t> ranking, int64_t count) {
  ranking.resize(std::min<size_t>(ranking.size(), static_cast<size_t>(count)));
  std::sort(ranking.begin(), ranking.end());
  return ranking;
}

}  // namespace dtrpo::diffusion

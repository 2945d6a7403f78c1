#include "services/replay/sample_limiter.h"

#include <algorithm>
#include <cmath>

namespace dtrpo::replay {

SampleLimiter::SampleLimiter(const TableOptions& options)
    : min_items_(options.min_items),
      pairs_per_batch_(options.pairs_per_batch),
      external_pairs_per_batch_(options.external_pairs_per_batch),
      total_steps_(options.total_steps),
      samples_per_insert_(options.samples_per_insert),
      max_uses_(options.max_uses) {}

int32_t SampleLimiter::UsesOf(ItemId k) const {
  if (samples_per_insert_ == 0) return max_uses_;
  auto share_of_first = [this](ItemId items) {
    return static_cast<int64_t>(std::floor(static_cast<double>(items) * samples_per_insert_));
  };
  return static_cast<int32_t>(
      std::clamp<int64_t>(share_of_first(k) - share_of_first(k - 1), 1, max_uses_));
}

int64_t SampleLimiter::WantedItems(int64_t n) const {
  const int64_t remaining =
      (total_steps_ - n + 1) * (pairs_per_batch_ - external_pairs_per_batch_) +
      external_pairs_per_batch_;
  return std::max(pairs_per_batch_, std::min(min_items_, remaining));
}

}  // namespace dtrpo::replay

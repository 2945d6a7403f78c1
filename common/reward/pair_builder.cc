#include "common/reward/pair_builder.h"

#include <algorithm>
#include <cmath>

#include "common/base/check.h"

namespace dtrpo::reward {
namespace {

using trajectory::Trajectory;

bool SameTargets(const Trajectory& a, const Trajectory& b) {
  const int64_t count = trajectory::TargetCount(a);
  return count == trajectory::TargetCount(b) &&
         std::equal(a.response_tokens.begin(), a.response_tokens.begin() + count,
                    b.response_tokens.begin());
}

}  // namespace

std::vector<PairChoice> BuildPairs(absl::Span<const Trajectory> samples, double min_gap,
                                   int32_t max_pairs) {
  std::vector<int64_t> order;
  for (size_t i = 0; i < samples.size(); ++i) {
    DTRPO_CHECK(std::isfinite(samples[i].reward)) << "reward of sample " << samples[i].id;
    if (samples[i].finish_reason != trajectory::FinishReason::kCancelled) {
      order.push_back(static_cast<int64_t>(i));
    }
  }
  std::stable_sort(order.begin(), order.end(), [&samples](int64_t a, int64_t b) {
    return samples[a].reward > samples[b].reward;
  });
  std::vector<PairChoice> pairs;
  for (size_t i = 0; i < order.size() / 2 && static_cast<int32_t>(pairs.size()) < max_pairs; ++i) {
    const PairChoice pair = {order[i], order[order.size() - 1 - i]};
    const Trajectory& chosen = samples[pair.chosen];
    const Trajectory& rejected = samples[pair.rejected];
    if (!(chosen.reward - rejected.reward > min_gap)) break;  // later gaps are no larger
    if (!SameTargets(chosen, rejected)) pairs.push_back(pair);
  }
  return pairs;
}

}  // namespace dtrpo::reward

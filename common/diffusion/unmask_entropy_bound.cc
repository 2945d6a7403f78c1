#include "common/diffusion/unmask_entropy_bound.h"

#include "common/base/check.h"
#include "common/diffusion/unmask_ranking.h"

namespace dtrpo::diffusion {

Selection EntropyBound::Select(const SubBlockProgress& /*progress*/,
                               absl::Span<const MaskedPosition> masked) const {
  DTRPO_CHECK(!masked.empty());
  std::vector<double> scores;
  for (const MaskedPosition& m : masked) scores.push_back(-m.entropy);
  const std::vector<int32_t> ranking = RankByScore(scores);
  double sum = masked[ranking[0]].entropy;
  int64_t count = 1;
  for (; count < static_cast<int64_t>(ranking.size()); ++count) {
    sum += masked[ranking[count]].entropy;
    if (sum > bound_) break;
  }
  return {FirstOf(ranking, count)};
}

}  // namespace dtrpo::diffusion

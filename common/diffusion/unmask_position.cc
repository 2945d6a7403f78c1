#include "common/diffusion/unmask_position.h"

#include "common/base/check.h"
#include "common/diffusion/unmask_ranking.h"

namespace dtrpo::diffusion {

Selection Sequential::Select(const SubBlockProgress& /*progress*/,
                             absl::Span<const MaskedPosition> masked) const {
  DTRPO_CHECK(!masked.empty());
  return {FirstOf(RankByScore(std::vector<double>(masked.size())), tokens_)};
}

Selection RandomPositions::Select(const SubBlockProgress& progress,
                                  absl::Span<const MaskedPosition> masked) const {
  DTRPO_CHECK(!masked.empty());
  std::vector<double> scores;
  for (const MaskedPosition& m : masked) {
    scores.push_back(OrderUniform(progress.seed, m.position, progress.step));
  }
  return {FirstOf(RankByScore(scores), tokens_)};
}

}  // namespace dtrpo::diffusion

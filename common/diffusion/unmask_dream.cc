#include "common/diffusion/unmask_dream.h"

#include <cmath>
#include <utility>

#include "common/base/check.h"
#include "common/diffusion/unmask_ranking.h"

namespace dtrpo::diffusion {

using trajectory::DreamOrder;

Selection Dream::Select(const SubBlockProgress& progress,
                        absl::Span<const MaskedPosition> masked) const {
  DTRPO_CHECK(!masked.empty());
  for (int32_t step = progress.step; step < spec_.steps; ++step) {
    std::vector<int32_t> chosen = spec_.order == DreamOrder::kOrigin
                                      ? ByChance(progress, step, masked)
                                      : Best(progress, step, masked);
    if (!chosen.empty()) return {std::move(chosen), step - progress.step + 1};
  }
  DTRPO_CHECK(false) << "step " << progress.step << " of " << spec_.steps << " and still "
                     << masked.size() << " masks";
  return {};
}

double Dream::Share(int32_t step) const {
  if (step == spec_.steps - 1) return 1;
  const double decrement = (1 - spec_.eps) / spec_.steps;  // t - s
  return decrement / (1 - decrement * step);
}

std::vector<int32_t> Dream::ByChance(const SubBlockProgress& progress, int32_t step,
                                     absl::Span<const MaskedPosition> masked) const {
  const double share = Share(step);
  std::vector<int32_t> chosen;
  for (size_t i = 0; i < masked.size(); ++i) {
    if (OrderUniform(progress.seed, masked[i].position, step) < share) {
      chosen.push_back(static_cast<int32_t>(i));
    }
  }
  return chosen;
}

std::vector<int32_t> Dream::Best(const SubBlockProgress& progress, int32_t step,
                                 absl::Span<const MaskedPosition> masked) const {
  const int64_t count = static_cast<int64_t>(static_cast<double>(masked.size()) * Share(step));
  if (count == 0) return {};
  std::vector<double> scores;
  for (const MaskedPosition& m : masked) {
    double score = Score(m);
    if (spec_.alg_temp > 0) {
      const double uniform = OrderUniform(progress.seed, m.position, step);
      score = score / spec_.alg_temp - std::log(-std::log(uniform));
    }
    scores.push_back(score);
  }
  return FirstOf(RankByScore(scores), count);
}

double Dream::Score(const MaskedPosition& masked) const {
  switch (spec_.order) {
    case DreamOrder::kMaskgitPlus:
      return masked.confidence;
    case DreamOrder::kTopkMargin:
      return masked.margin;
    case DreamOrder::kEntropy:
      return -masked.entropy;
    case DreamOrder::kOrigin:
      break;  // takes them by chance
  }
  DTRPO_CHECK(false) << "order " << static_cast<int>(spec_.order) << " has no score";
  return 0;
}

}  // namespace dtrpo::diffusion

#include "common/dtrpo/plan_weights.h"

#include <algorithm>

namespace dtrpo::objective {
namespace {

using trajectory::BlockPlan;
using trajectory::MaskPlan;

// Of a target drawn in `block`.
double RatioWeight(const MaskPlan& plan, int64_t block, job::Weighting weighting) {
  switch (weighting) {
    case job::Weighting::kSteps:
      return StatesPerDraw(plan, block);
    case job::Weighting::kOne:
      return 1;
    case job::Weighting::kMean:
      break;
  }
  int64_t targets = 0;
  size_t drawn = 0;
  for (const BlockPlan& together : DrawnTogether(plan, block)) {
    targets += together.target_tokens;
    for (const trajectory::ScoredState& state : together.states) drawn += state.targets.size();
  }
  return static_cast<double>(targets) / static_cast<double>(drawn);
}

}  // namespace

std::vector<PlannedTarget> PlannedTargets(const MaskPlan& plan) {
  std::vector<PlannedTarget> targets;
  targets.reserve(plan.target_count);
  for (size_t b = 0; b < plan.blocks.size(); ++b) {
    const BlockPlan& block = plan.blocks[b];
    const int64_t index = static_cast<int64_t>(b);
    if (block.first_token >= 0) targets.push_back({block.first_token, index, kFirstTokenState});
    for (size_t k = 0; k < block.states.size(); ++k) {
      for (const int64_t i : block.states[k].targets) {
        targets.push_back({i, index, static_cast<int64_t>(k)});
      }
    }
  }
  return targets;
}

std::vector<double> RatioWeights(const MaskPlan& plan, job::Weighting weighting,
                                 bool length_normalised) {
  double scale = 1;
  if (length_normalised) {
    int64_t count = 0;
    for (const BlockPlan& block : plan.blocks) {
      count += block.target_tokens + (block.first_token >= 0 ? 1 : 0);
    }
    scale = 1 / static_cast<double>(std::max<int64_t>(count, 1));
  }
  std::vector<double> weights;
  for (const PlannedTarget& target : PlannedTargets(plan)) {
    const double weight =
        target.state == kFirstTokenState ? 1 : RatioWeight(plan, target.block, weighting);
    weights.push_back(scale * weight);
  }
  return weights;
}

std::vector<double> StalenessWeights(const MaskPlan& plan) {
  std::vector<double> weights;
  for (const PlannedTarget& target : PlannedTargets(plan)) {
    size_t draws = 0;
    for (const BlockPlan& together : DrawnTogether(plan, target.block)) {
      draws += together.states.size();
    }
    weights.push_back(1 / static_cast<double>(std::max<size_t>(draws, 1)));
  }
  return weights;
}

std::vector<double> MeanWeights(const MaskPlan& plan) {
  return std::vector<double>(plan.target_count,
                             1 / static_cast<double>(std::max<int64_t>(plan.target_count, 1)));
}

}  // namespace dtrpo::objective

#include "common/dtrpo/plan_weights.h"

#include <algorithm>

namespace dtrpo::objective {
namespace {

using trajectory::BlockPlan;
using trajectory::MaskPlan;
using trajectory::ScoredState;

const ScoredState& StateOf(const MaskPlan& plan, const PlannedTarget& target) {
  return plan.blocks[target.block].states[target.state];
}

bool IsInRatio(const MaskPlan& plan, const PlannedTarget& target) {
  return target.state == kFirstTokenState || StateOf(plan, target).weight > 0;
}

double RatioWeight(const MaskPlan& plan, const PlannedTarget& target, job::Weighting weighting) {
  if (target.state == kFirstTokenState) return 1;
  const double weight = StateOf(plan, target).weight;
  if (weight == 0 || weighting == job::Weighting::kSteps) return weight;
  if (weighting == job::Weighting::kOne) return 1;
  int64_t targets = 0;
  size_t drawn = 0;
  for (const BlockPlan& together : DrawnTogether(plan, target.block)) {
    targets += together.target_tokens;
    for (const ScoredState& state : together.states) {
      if (state.weight > 0) drawn += state.targets.size();
    }
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
    weights.push_back(scale * RatioWeight(plan, target, weighting));
  }
  return weights;
}

bool IsOfSampledState(const MaskPlan& plan, const PlannedTarget& target) {
  return target.state == kFirstTokenState || StateOf(plan, target).step != trajectory::kNoStep;
}

std::vector<double> StalenessWeights(const MaskPlan& plan) {
  std::vector<double> weights;
  for (const PlannedTarget& target : PlannedTargets(plan)) {
    if (!IsOfSampledState(plan, target)) {
      weights.push_back(0);
      continue;
    }
    int64_t draws = 0;
    for (const BlockPlan& together : DrawnTogether(plan, target.block)) {
      draws +=
          std::count_if(together.states.begin(), together.states.end(),
                        [](const ScoredState& state) { return state.step != trajectory::kNoStep; });
    }
    weights.push_back(1 / static_cast<double>(std::max<int64_t>(draws, 1)));
  }
  return weights;
}

std::vector<double> MeanWeights(const MaskPlan& plan) {
  std::vector<double> weights;
  double count = 0;
  for (const PlannedTarget& target : PlannedTargets(plan)) {
    weights.push_back(IsInRatio(plan, target) ? 1 : 0);
    count += weights.back();
  }
  for (double& weight : weights) weight /= std::max(count, 1.0);
  return weights;
}

}  // namespace dtrpo::objective

// Thread safety: pure functions. No torch.
//
// What each target of a mask plan counts for in the sums of the objective. Every vector has one
// entry per target, in plan order (common/trajectory/mask_plan.h).
//
// Letters: b a block of the plan, T_b its steps that hold targets, k_b = min(K, T_b) of them drawn,
// n_b its targets at steps >= 1. When states are drawn from the sequence (DrawFrom::kSequence), the
// whole response takes the block's part in what follows.
#pragma once

#include <cstdint>
#include <vector>

#include "common/job/job_spec.h"
#include "common/trajectory/mask_plan.h"

namespace dtrpo::objective {

inline constexpr int64_t kFirstTokenState = -1;

struct PlannedTarget {
  int64_t index = 0;                 // response index
  int64_t block = 0;                 // into plan.blocks
  int64_t state = kFirstTokenState;  // into the block's states
};

std::vector<PlannedTarget> PlannedTargets(const trajectory::MaskPlan& plan);

// Whether the target is read from a state that was sampled from, so that its behaviour
// log-probability is comparable: step-0 targets and states of a step.
bool IsOfSampledState(const trajectory::MaskPlan& plan, const PlannedTarget& target);

// R = sum of weight * (log policy - log reference). Step-0 targets always weigh 1, those of
// behaviour states 0; the others
//   kSteps  what the plan says. Drawn steps: T_b / k_b, so R is an unbiased estimate of the
//           trajectory's log-ratio; random masks: their objective's own weights
//   kOne    1
//   kMean   n_b / (targets drawn in the block): n_b times the mean of the drawn ones
// so that all three agree in exact mode. length_normalised divides by the trajectory's targets
// (the sum of n_b and step-0 targets), in exact mode too.
std::vector<double> RatioWeights(const trajectory::MaskPlan& plan, job::Weighting weighting,
                                 bool length_normalised);

// The exponent of rho, the off-policy correction: (1/K) * (sum over the draws' targets and the
// step-0 ones). A block with fewer than K steps has only k_b draws, each counted once, so its K is
// k_b (1 where nothing was drawn): a short block isn't damped for having few steps. Of a plan of
// random masks only the behaviour states and step-0 targets count.
std::vector<double> StalenessWeights(const trajectory::MaskPlan& plan);

// 1 / targets of the plan, those of behaviour states (weight 0) left out: the mean per token.
std::vector<double> MeanWeights(const trajectory::MaskPlan& plan);

}  // namespace dtrpo::objective

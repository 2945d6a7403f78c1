// Thread safety: free functions.
//
// R(y), the estimated log-ratio of a trajectory between policy and reference (arXiv 2603.18806):
// the schedule-dependent coefficients cancel, so only the log-probabilities of newly unmasked
// tokens enter, weighted as in plan_weights.h.
//
// Letters: Y trajectories, n target tokens of all of them, in plan order one after another.
#pragma once

#include <torch/types.h>

#include <vector>

#include "absl/types/span.h"
#include "common/job/job_spec.h"
#include "common/trajectory/mask_plan.h"

namespace dtrpo::objective {

// Sums weight * value per trajectory: [Y] in float64, differentiable in `values` [n]. weights[y]
// has one entry per target of trajectory y.
torch::Tensor WeightedSums(const torch::Tensor& values,
                           const std::vector<std::vector<double>>& weights);

// R of each trajectory [Y], float64. policy, reference: [n]; differentiable in `policy`.
torch::Tensor LogRatios(absl::Span<const trajectory::MaskPlan* const> plans,
                        const torch::Tensor& policy, const torch::Tensor& reference,
                        const job::ObjectiveSpec& objective);

// Any tensor's values on the host, for reports.
std::vector<double> HostNumbers(const torch::Tensor& values);

}  // namespace dtrpo::objective

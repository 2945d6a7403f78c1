#include "common/dtrpo/preference_loss.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/dtrpo/log_ratio.h"
#include "common/dtrpo/plan_weights.h"
#include "common/model/device.h"
#include "common/model/torch_boundary.h"

namespace dtrpo::objective {
namespace {

using trajectory::MaskPlan;
using trajectory::Trajectory;

// The loss of each pair by its log-ratio margin R(chosen) - R(rejected), [pairs].
torch::Tensor PairLosses(const torch::Tensor& difference, const job::ObjectiveSpec& objective) {
  if (objective.loss == job::PreferenceLossKind::kIpo) {
    return (difference - 0.5 / objective.beta).square();
  }
  const torch::Tensor margin = objective.beta * difference;
  if (objective.label_smoothing == 0) return -torch::log_sigmoid(margin);
  return -(1 - objective.label_smoothing) * torch::log_sigmoid(margin) -
         objective.label_smoothing * torch::log_sigmoid(-margin);
}

// Whether rho can be computed: behaviour log-probabilities are of states that were sampled from.
bool HoldsBehaviour(const PairInput& input) {
  const MaskPlan& plan = *input.rejected_plan;
  if (input.pair->rejected.external || HoldsSampledStates(plan.kind)) return true;
  return std::all_of(plan.blocks.begin(), plan.blocks.end(), [](const auto& block) {
    return block.states.empty() || block.states.back().step != trajectory::kNoStep;
  });
}

// rho of every rejected answer, [pairs], without gradient.
torch::Tensor RejectedRatios(absl::Span<const PairInput> pairs, const torch::Tensor& policy) {
  std::vector<double> behaviour;
  std::vector<std::vector<double>> weights;
  for (const PairInput& input : pairs) {
    behaviour.insert(behaviour.end(), input.chosen_plan->target_count, 0);
    weights.emplace_back(input.chosen_plan->target_count, 0);
    const Trajectory& rejected = input.pair->rejected;
    weights.push_back(rejected.external ? std::vector<double>(input.rejected_plan->target_count, 0)
                                        : StalenessWeights(*input.rejected_plan));
    for (const PlannedTarget& target : PlannedTargets(*input.rejected_plan)) {
      behaviour.push_back(rejected.external ? 0 : rejected.behaviour_logprob[target.index]);
    }
  }
  const torch::Tensor detached = policy.detach().to(torch::kFloat64);
  const torch::Tensor difference =
      detached - model::ToDevice(torch::tensor(behaviour, torch::kFloat64), detached.device());
  const torch::Tensor exponent =
      WeightedSums(difference, weights).view({-1, 2}).select(/*dim=*/1, /*index=*/1);
  return exponent.exp().clamp_max(1);
}

// Mean cross-entropy of every chosen answer's scored tokens, [pairs].
torch::Tensor ChosenCrossEntropy(absl::Span<const PairInput> pairs, const torch::Tensor& policy) {
  std::vector<std::vector<double>> weights;
  for (const PairInput& input : pairs) {
    weights.push_back(MeanWeights(*input.chosen_plan));
    weights.emplace_back(input.rejected_plan->target_count, 0);
  }
  return -WeightedSums(policy, weights).view({-1, 2}).select(/*dim=*/1, /*index=*/0);
}

PreferenceLoss Compute(absl::Span<const PairInput> pairs, const torch::Tensor& policy,
                       const torch::Tensor& reference, const job::ObjectiveSpec& objective,
                       int64_t global_pairs) {
  std::vector<const MaskPlan*> plans;
  for (const PairInput& input : pairs) {
    plans.push_back(input.chosen_plan);
    plans.push_back(input.rejected_plan);
  }
  const torch::Tensor ratios =
      LogRatios(plans, policy, model::ToDevice(reference.detach(), policy.device()), objective)
          .view({-1, 2});
  const torch::Tensor chosen = ratios.select(/*dim=*/1, /*index=*/0);
  torch::Tensor rejected = ratios.select(/*dim=*/1, /*index=*/1);
  torch::Tensor rho = torch::ones_like(rejected.detach());
  if (objective.staleness_correction == job::StalenessCorrection::kRejectedRatio) {
    rho = RejectedRatios(pairs, policy);
    const torch::Tensor value = rejected.detach();
    rejected = value + rho * (rejected - value);
  }
  const torch::Tensor margin = objective.beta * (chosen - rejected);
  const torch::Tensor preference = PairLosses(chosen - rejected, objective);
  const torch::Tensor cross_entropy = ChosenCrossEntropy(pairs, policy);
  torch::Tensor total = preference.sum();
  // Left out rather than multiplied by zero: 0 * infinity would be NaN.
  if (objective.sft_weight > 0) total = total + objective.sft_weight * cross_entropy.sum();

  PreferenceLoss result;
  result.loss = total / static_cast<double>(global_pairs);
  // In one copy: each waits for the device. [pairs, terms].
  const std::vector<double> terms = HostNumbers(
      torch::cat({ratios, torch::stack({margin, preference, cross_entropy, rho}, 1)}, 1).detach());
  for (size_t i = 0; i < pairs.size(); ++i) {
    const double* t = &terms[6 * i];
    result.pairs.push_back({t[0], t[1], t[2], t[3], t[4], t[5]});
  }
  return result;
}

}  // namespace

double PairPriority(const PairTerms& terms) { return 1 / (1 + std::exp(terms.margin)); }

std::vector<ScoreInput> ScoreInputs(absl::Span<const PairInput> pairs) {
  std::vector<ScoreInput> inputs;
  for (const PairInput& input : pairs) {
    inputs.push_back({&input.pair->chosen, input.chosen_plan});
    inputs.push_back({&input.pair->rejected, input.rejected_plan});
  }
  return inputs;
}

absl::StatusOr<PreferenceLoss> ComputePreferenceLoss(absl::Span<const PairInput> pairs,
                                                     const torch::Tensor& policy,
                                                     const torch::Tensor& reference,
                                                     const job::ObjectiveSpec& objective,
                                                     int64_t global_pairs) {
  DTRPO_CHECK_GE(global_pairs, static_cast<int64_t>(pairs.size()));
  int64_t targets = 0;
  for (const PairInput& input : pairs) {
    targets += input.chosen_plan->target_count + input.rejected_plan->target_count;
  }
  if (pairs.empty() || policy.dim() != 1 || reference.dim() != 1 || policy.size(0) != targets ||
      reference.size(0) != targets) {
    return absl::InvalidArgumentError(absl::StrCat(
        "preference loss: ", policy.numel(), " policy and ", reference.numel(),
        " reference log-probabilities for ", targets, " targets of ", pairs.size(), " pairs"));
  }
  if (objective.staleness_correction == job::StalenessCorrection::kRejectedRatio) {
    for (const PairInput& input : pairs) {
      if (HoldsBehaviour(input)) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "pair '", input.pair->id,
          "': the off-policy correction needs a plan with behaviour states beside its random "
          "masks"));
    }
  }
  return model::TorchBoundary(
      [&] { return Compute(pairs, policy, reference, objective, global_pairs); });
}

}  // namespace dtrpo::objective

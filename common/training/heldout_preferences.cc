#include "common/training/heldout_preferences.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>

#include "common/base/status_macros.h"
#include "common/dtrpo/log_ratio.h"
#include "common/dtrpo/plan_weights.h"
#include "common/dtrpo/preference_loss.h"
#include "common/dtrpo/trajectory_scorer.h"

namespace dtrpo::training {
namespace {

using trajectory::MaskPlan;
using trajectory::PreferencePair;

constexpr size_t kEvaluatedAtOnce = 4;  // pairs that share a forward

// The answer's estimated log-probability; exact where all states are planned. Takes its values from
// the front of `values`.
double TakeLogProbability(const MaskPlan& plan, absl::Span<const double>& values) {
  const std::vector<double> weights =
      objective::RatioWeights(plan, job::Weighting::kSteps, /*length_normalised=*/false);
  double sum = 0;
  for (size_t i = 0; i < weights.size(); ++i) sum += weights[i] * values[i];
  values.remove_prefix(weights.size());
  return sum;
}

}  // namespace

trajectory::MaskPlanOptions HeldOutPlan(trajectory::MaskPlanOptions options,
                                        checkpoint::Attention attention) {
  if (attention != checkpoint::Attention::kBlockCausal) return options;
  if (!HoldsSampledStates(options.kind)) return options;
  options.kind = trajectory::PlanKind::kDtrpo;
  options.draw_from = trajectory::DrawFrom::kBlock;
  options.draws = std::max(options.draws, kHeldOutDraws);
  return options;
}

absl::StatusOr<HeldOutPreferences> EvaluatePreferences(const model::Transformer& policy,
                                                       absl::Span<const PreferencePair> heldout,
                                                       const trajectory::MaskPlanOptions& options,
                                                       const job::ObjectiveSpec& objective,
                                                       const ReferenceOf& reference) {
  torch::NoGradGuard no_grad;
  HeldOutPreferences result;
  for (size_t begin = 0; begin < heldout.size(); begin += kEvaluatedAtOnce) {
    const auto part = heldout.subspan(begin, kEvaluatedAtOnce);
    std::vector<MaskPlan> plans;
    plans.reserve(2 * part.size());
    std::vector<objective::PairInput> pairs;
    for (const PreferencePair& pair : part) {
      plans.push_back(trajectory::MakeMaskPlan(pair.chosen, options, /*use_index=*/0));
      plans.push_back(trajectory::MakeMaskPlan(pair.rejected, options, /*use_index=*/0));
      pairs.push_back({&pair, &plans[plans.size() - 2], &plans.back()});
    }
    const std::vector<objective::ScoreInput> inputs = objective::ScoreInputs(pairs);
    DTRPO_ASSIGN_OR_RETURN(const std::vector<std::vector<float>> scores, reference(begin, inputs));
    std::vector<float> flat;
    for (const auto& of_answer : scores)
      flat.insert(flat.end(), of_answer.begin(), of_answer.end());
    DTRPO_ASSIGN_OR_RETURN(const torch::Tensor policy_scores,
                           objective::ScoreTargets(policy, inputs, options.boundary));
    DTRPO_ASSIGN_OR_RETURN(
        const objective::PreferenceLoss loss,
        objective::ComputePreferenceLoss(pairs, policy_scores, torch::tensor(flat, torch::kFloat32),
                                         objective, static_cast<int64_t>(part.size())));
    const std::vector<double> log_probs = objective::HostNumbers(policy_scores);
    absl::Span<const double> rest = log_probs;
    for (size_t i = 0; i < part.size(); ++i) {
      const double chosen = TakeLogProbability(*pairs[i].chosen_plan, rest);
      const double rejected = TakeLogProbability(*pairs[i].rejected_plan, rest);
      result.chosen_likelier += chosen > rejected ? 1 : 0;
      result.loss += loss.pairs[i].preference_loss;
      result.margin += loss.pairs[i].margin;
      result.accuracy += loss.pairs[i].margin > 0 ? 1 : 0;
      ++result.pairs;
    }
  }
  const double pairs = static_cast<double>(std::max<int64_t>(result.pairs, 1));
  for (double* value : {&result.loss, &result.margin, &result.accuracy, &result.chosen_likelier}) {
    *value /= pairs;
  }
  return result;
}

}  // namespace dtrpo::training

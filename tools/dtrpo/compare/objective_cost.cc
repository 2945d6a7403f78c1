#include "tools/dtrpo/compare/objective_cost.h"

#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/base/status_macros.h"
#include "common/dtrpo/log_ratio.h"
#include "common/dtrpo/remask.h"
#include "common/dtrpo/trajectory_scorer.h"
#include "common/dtrpo/whole_states.h"

namespace dtrpo::tools {
namespace {

using checkpoint::Attention;
using objective::RemaskedBatch;
using trajectory::MaskPlan;
using trajectory::PreferencePair;
using trajectory::Trajectory;

// Draws for measuring are none of those that were trained on.
constexpr int32_t kFirstMeasuredUse = 1 << 20;

double PlainForwards(const MaskPlan& plan, Attention attention) {
  double all = 0, most = 1;  // step-0 targets alone need one too
  for (const trajectory::BlockPlan& block : plan.blocks) {
    const double states = static_cast<double>(block.states.size());
    all += states;
    most = std::max(most, states);
  }
  return attention == Attention::kBidirectional ? all : most;
}

absl::StatusOr<std::vector<RemaskedBatch>> LayOut(const checkpoint::ModelDescriptor& descriptor,
                                                  absl::Span<const objective::ScoreInput> inputs,
                                                  trajectory::Boundary boundary) {
  if (descriptor.attention == Attention::kBidirectional) {
    return objective::LayOutWholeStates(inputs, {.mask_id = descriptor.mask_id,
                                                 .vocabulary_size = descriptor.vocab_size,
                                                 .logit_shift = descriptor.logit_shift});
  }
  DTRPO_ASSIGN_OR_RETURN(RemaskedBatch batch,
                         objective::Remask(inputs, {.mask_id = descriptor.mask_id,
                                                    .vocabulary_size = descriptor.vocab_size,
                                                    .logit_shift = descriptor.logit_shift,
                                                    .boundary = boundary}));
  return std::vector<RemaskedBatch>{std::move(batch)};
}

absl::StatusOr<std::vector<double>> LogRatiosOf(const model::Transformer& policy,
                                                const model::Transformer& reference,
                                                absl::Span<const Trajectory* const> answers,
                                                const trajectory::MaskPlanOptions& options,
                                                const job::ObjectiveSpec& objective,
                                                int32_t use_index) {
  std::vector<MaskPlan> plans;
  for (const Trajectory* t : answers) {
    plans.push_back(trajectory::MakeMaskPlan(*t, options, use_index));
  }
  std::vector<objective::ScoreInput> inputs;
  std::vector<const MaskPlan*> borrowed;
  for (size_t i = 0; i < answers.size(); ++i) {
    inputs.push_back({answers[i], &plans[i]});
    borrowed.push_back(&plans[i]);
  }
  torch::NoGradGuard no_grad;
  DTRPO_ASSIGN_OR_RETURN(const torch::Tensor p,
                         objective::ScoreTargets(policy, inputs, options.boundary));
  DTRPO_ASSIGN_OR_RETURN(const torch::Tensor r,
                         objective::ScoreTargets(reference, inputs, options.boundary));
  return objective::HostNumbers(objective::LogRatios(borrowed, p, r, objective));
}

}  // namespace

absl::StatusOr<PairCost> CostOf(const checkpoint::ModelDescriptor& descriptor,
                                absl::Span<const PreferencePair> pairs,
                                const trajectory::MaskPlanOptions& options) {
  PairCost cost;
  for (const PreferencePair& pair : pairs) {
    const MaskPlan plans[] = {trajectory::MakeMaskPlan(pair.chosen, options, /*use_index=*/0),
                              trajectory::MakeMaskPlan(pair.rejected, options, /*use_index=*/0)};
    DTRPO_ASSIGN_OR_RETURN(
        const std::vector<RemaskedBatch> batches,
        LayOut(descriptor, {{&pair.chosen, &plans[0]}, {&pair.rejected, &plans[1]}},
               options.boundary));
    for (const MaskPlan& plan : plans) {
      cost.plain_forwards += 2 * PlainForwards(plan, descriptor.attention);
    }
    for (const RemaskedBatch& batch : batches) {
      cost.rows += 2 * static_cast<double>(batch.rows.token_ids.size());
    }
    cost.forwards += 2 * static_cast<double>(batches.size());
  }
  const double count = static_cast<double>(std::max<size_t>(pairs.size(), 1));
  for (double* value : {&cost.plain_forwards, &cost.forwards, &cost.rows}) *value /= count;
  return cost;
}

absl::StatusOr<EstimatorSpread> SpreadOf(const model::Transformer& policy,
                                         const model::Transformer& reference,
                                         absl::Span<const PreferencePair> pairs,
                                         const trajectory::MaskPlanOptions& options,
                                         const job::ObjectiveSpec& objective, int32_t draws) {
  std::vector<const Trajectory*> answers;
  for (const PreferencePair& pair : pairs) {
    answers.push_back(&pair.chosen);
    answers.push_back(&pair.rejected);
  }
  if (answers.empty() || draws < 2) return EstimatorSpread{};
  std::vector<double> sum(answers.size()), squares(answers.size());
  for (int32_t draw = 0; draw < draws; ++draw) {
    DTRPO_ASSIGN_OR_RETURN(
        const std::vector<double> ratios,
        LogRatiosOf(policy, reference, answers, options, objective, kFirstMeasuredUse + draw));
    for (size_t i = 0; i < ratios.size(); ++i) {
      sum[i] += ratios[i];
      squares[i] += ratios[i] * ratios[i];
    }
  }
  EstimatorSpread spread;
  double signal = 0;
  for (size_t i = 0; i < answers.size(); ++i) {
    const double mean = sum[i] / draws;
    spread.variance += std::max(0.0, squares[i] - sum[i] * mean) / (draws - 1);
    signal += mean * mean;
  }
  if (signal > 0) spread.relative_sd = std::sqrt(spread.variance / signal);
  spread.variance /= static_cast<double>(answers.size());
  return spread;
}

}  // namespace dtrpo::tools

#include "common/training/preference_trainer.h"

#include <torch/autograd.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/dtrpo/preference_loss.h"
#include "common/dtrpo/step_statistics.h"
#include "common/dtrpo/trajectory_scorer.h"
#include "common/model/torch_boundary.h"
#include "common/training/learning_rate.h"

namespace dtrpo::training {
namespace {

// The reference's scores of a micro-batch, in the order of objective::ScoreInputs.
torch::Tensor ReferenceScores(absl::Span<const TrainingPair> pairs) {
  std::vector<float> scores;
  for (const TrainingPair& pair : pairs) {
    scores.insert(scores.end(), pair.reference_chosen.begin(), pair.reference_chosen.end());
    scores.insert(scores.end(), pair.reference_rejected.begin(), pair.reference_rejected.end());
  }
  return torch::tensor(scores, torch::kFloat32);
}

std::vector<double> ToDoubles(const torch::Tensor& tensor) {
  const torch::Tensor flat = tensor.detach().to(torch::kCPU, torch::kFloat64).contiguous();
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

trajectory::PlanKind PlanKindOf(job::ObjectiveKind kind) {
  switch (kind) {
    case job::ObjectiveKind::kDtrpo:
      return trajectory::PlanKind::kDtrpo;
    case job::ObjectiveKind::kExact:
      return trajectory::PlanKind::kExact;
    case job::ObjectiveKind::kVrpo:
      return trajectory::PlanKind::kVrpo;
    case job::ObjectiveKind::kRandomMask:
      return trajectory::PlanKind::kRandomMask;
  }
  DTRPO_CHECK(false) << "objective kind " << static_cast<int>(kind);
  return trajectory::PlanKind::kDtrpo;
}

std::string FirstNonFinite(absl::Span<const objective::PairInput> inputs,
                           absl::Span<const objective::PairTerms> terms) {
  for (size_t i = 0; i < terms.size(); ++i) {
    if (!std::isfinite(terms[i].preference_loss) || !std::isfinite(terms[i].sft_loss))
      return inputs[i].pair->id;
  }
  return "";
}

}  // namespace

absl::StatusOr<trajectory::MaskPlanOptions> PlanOptions(const job::JobSpec& spec,
                                                        checkpoint::Attention attention) {
  trajectory::MaskPlanOptions options;
  options.job_seed = spec.seed;
  options.kind = PlanKindOf(spec.objective.kind);
  options.draws = spec.objective.draws;
  options.antithetic = spec.objective.antithetic;
  options.behaviour_states =
      !HoldsSampledStates(options.kind) &&
      spec.objective.staleness_correction == job::StalenessCorrection::kRejectedRatio;
  DTRPO_ASSIGN_OR_RETURN(options.boundary, trajectory::ParseBoundary(spec.objective.boundary));
  if (!spec.objective.draw_from.empty()) {
    DTRPO_ASSIGN_OR_RETURN(options.draw_from, trajectory::ParseDrawFrom(spec.objective.draw_from));
  } else if (attention == checkpoint::Attention::kBidirectional) {
    options.draw_from = trajectory::DrawFrom::kSequence;
  }
  return options;
}

PreferenceTrainer::PreferenceTrainer(TrainedModel model, const job::JobSpec& spec,
                                     const trajectory::MaskPlanOptions& plan_options,
                                     collectives::ProcessGroup* group)
    : trained_(std::move(model)), spec_(spec), plan_options_(plan_options), group_(group) {}

absl::StatusOr<std::unique_ptr<PreferenceTrainer>> PreferenceTrainer::Create(
    TrainedModel model, const job::JobSpec& spec, collectives::ProcessGroup* group) {
  DTRPO_ASSIGN_OR_RETURN(const trajectory::MaskPlanOptions plan_options,
                         PlanOptions(spec, model.model().descriptor().attention));
  std::unique_ptr<PreferenceTrainer> trainer(
      new PreferenceTrainer(std::move(model), spec, plan_options, group));
  const AdamWOptions adamw{.weight_decay = spec.training.weight_decay};
  if (group == nullptr) {
    trainer->optimizer_ = std::make_unique<AdamW>(trainer->trained_.parameters(), adamw);
  } else {
    DTRPO_ASSIGN_OR_RETURN(trainer->sharded_,
                           ShardedOptimizer::Create(&trainer->trained_, group, {.adamw = adamw}));
  }
  return trainer;
}

absl::Status PreferenceTrainer::Update(double rate, StepOutcome& outcome, double& norm) {
  return model::TorchBoundary([&] {
    norm = optimizer_->GradientNorm();
    outcome.skipped = outcome.skipped || !std::isfinite(norm);
    if (outcome.skipped) return;
    const double limit = spec_.training.max_gradient_norm;
    if (limit > 0 && norm > limit) optimizer_->ScaleGradients(limit / norm);
    optimizer_->Step(rate);
    trained_.UpdateModel();
  });
}

// Every rank learns the same: whose pair was bad, the sum of squares, and the statistics of all, in
// the order of the ranks.
absl::Status PreferenceTrainer::UpdateWithOthers(double rate, objective::StepStatistics& statistics,
                                                 StepOutcome& outcome, double& norm) {
  DTRPO_RETURN_IF_ERROR(sharded_->FinishGradients());
  double squares = 0;
  DTRPO_RETURN_IF_ERROR(model::TorchBoundary([&] { squares = sharded_->SquaresOfGradients(); }));
  const std::string own = absl::StrFormat("%d\n%s\n%a\n%s", static_cast<int>(outcome.skipped),
                                          outcome.offending_pair, squares, statistics.Encode());
  DTRPO_ASSIGN_OR_RETURN(const std::vector<std::string> all, group_->AllGatherBytes(own));
  statistics.Clear();
  squares = 0;
  for (const std::string& word : all) {
    const std::vector<std::string> parts = absl::StrSplit(word, absl::MaxSplits('\n', 3));
    if (parts.size() != 4) return absl::InternalError("a rank's word on the step is cut short");
    outcome.skipped = outcome.skipped || parts[0] == "1";
    if (outcome.offending_pair.empty()) outcome.offending_pair = parts[1];
    squares += std::strtod(parts[2].c_str(), nullptr);
    DTRPO_RETURN_IF_ERROR(statistics.Merge(parts[3]));
  }
  norm = std::sqrt(squares);
  outcome.skipped = outcome.skipped || !std::isfinite(norm);
  if (outcome.skipped) return absl::OkStatus();
  const double limit = spec_.training.max_gradient_norm;
  return sharded_->Step(rate, limit > 0 && norm > limit ? limit / norm : 1);
}

absl::StatusOr<StepOutcome> PreferenceTrainer::Step(const StepInput& input) {
  const size_t micro =
      spec_.training.micro_batch_pairs > 0 ? spec_.training.micro_batch_pairs : input.pairs.size();
  const bool weights_are_version = (input.step - 1) % spec_.training.publish_every == 0;
  objective::StepStatistics statistics(spec_.objective, input.policy_version, weights_are_version);
  StepOutcome outcome;
  if (sharded_ != nullptr) {
    sharded_->BeginStep();
  } else {
    optimizer_->ZeroGradients();
  }

  for (size_t begin = 0; begin < input.pairs.size(); begin += micro) {
    const auto pairs = absl::MakeConstSpan(input.pairs).subspan(begin, micro);
    std::vector<trajectory::MaskPlan> plans;
    plans.reserve(2 * pairs.size());
    std::vector<objective::PairInput> inputs;
    for (const TrainingPair& pair : pairs) {
      plans.push_back(trajectory::MakeMaskPlan(pair.pair->chosen, plan_options_, pair.use_index));
      plans.push_back(trajectory::MakeMaskPlan(pair.pair->rejected, plan_options_, pair.use_index));
      inputs.push_back({pair.pair, &plans[plans.size() - 2], &plans.back()});
    }
    DTRPO_ASSIGN_OR_RETURN(
        const torch::Tensor policy,
        objective::ScoreTargets(model(), objective::ScoreInputs(inputs), plan_options_.boundary));
    const torch::Tensor reference = ReferenceScores(pairs);
    DTRPO_ASSIGN_OR_RETURN(const objective::PreferenceLoss loss,
                           objective::ComputePreferenceLoss(inputs, policy, reference,
                                                            spec_.objective, input.global_pairs));
    statistics.Add(inputs, loss.pairs, ToDoubles(policy), ToDoubles(reference));
    outcome.offending_pair = FirstNonFinite(inputs, loss.pairs);
    outcome.skipped = !outcome.offending_pair.empty();
    if (outcome.skipped) break;
    DTRPO_RETURN_IF_ERROR(model::TorchBoundary([&] {
      if (sharded_ != nullptr && begin + micro >= input.pairs.size()) {
        sharded_->BeforeLastBackward();
      }
      loss.loss.backward();
      trained_.CollectGradients();
    }));
  }

  const double rate = LearningRate(spec_.training, input.step);
  double norm = 0;
  if (sharded_ != nullptr) {
    DTRPO_RETURN_IF_ERROR(UpdateWithOthers(rate, statistics, outcome, norm));
  } else {
    DTRPO_RETURN_IF_ERROR(Update(rate, outcome, norm));
    optimizer_->ZeroGradients();
  }
  outcome.values = statistics.Values();
  outcome.values["learning_rate"] = rate;
  outcome.values["gradient_norm"] = norm;
  return outcome;
}

}  // namespace dtrpo::training

#include "common/training/preference_trainer.h"

#include <torch/autograd.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>
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

// Adds the time of its life to `total`.
class Stopwatch {
 public:
  Stopwatch(base::Clock* clock, absl::Duration* total)
      : clock_(clock), total_(total), started_(clock->Now()) {}
  ~Stopwatch() { *total_ += clock_->Now() - started_; }

 private:
  base::Clock* const clock_;
  absl::Duration* const total_;
  const absl::Time started_;
};

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
                                     collectives::ProcessGroup* group, base::Clock* clock)
    : trained_(std::move(model)),
      spec_(spec),
      plan_options_(plan_options),
      group_(group),
      clock_(clock) {}

absl::StatusOr<std::unique_ptr<PreferenceTrainer>> PreferenceTrainer::Create(
    TrainedModel model, const job::JobSpec& spec, collectives::ProcessGroup* group,
    base::Clock* clock) {
  DTRPO_ASSIGN_OR_RETURN(const trajectory::MaskPlanOptions plan_options,
                         PlanOptions(spec, model.model().descriptor().attention));
  std::unique_ptr<PreferenceTrainer> trainer(
      new PreferenceTrainer(std::move(model), spec, plan_options, group, clock));
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
  const Stopwatch stopwatch(clock_, &outcome.times.optimizer);
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
  std::optional<Stopwatch> stopwatch(std::in_place, clock_, &outcome.times.allreduce);
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
  stopwatch.emplace(clock_, &outcome.times.optimizer);
  norm = std::sqrt(squares);
  outcome.skipped = outcome.skipped || !std::isfinite(norm);
  if (outcome.skipped) return absl::OkStatus();
  const double limit = spec_.training.max_gradient_norm;
  return sharded_->Step(rate, limit > 0 && norm > limit ? limit / norm : 1);
}

// Pairs that share a forward, and what came of it. `inputs` point into `plans`.
struct PreferenceTrainer::ScoredPairs {
  std::vector<trajectory::MaskPlan> plans;
  std::vector<objective::PairInput> inputs;
  torch::Tensor policy, reference;
  objective::PreferenceLoss loss;
};

absl::StatusOr<PreferenceTrainer::ScoredPairs> PreferenceTrainer::Score(
    absl::Span<const TrainingPair> pairs, int64_t global_pairs) const {
  ScoredPairs scored;
  scored.plans.reserve(2 * pairs.size());
  for (const TrainingPair& pair : pairs) {
    for (const trajectory::Trajectory* t : {&pair.pair->chosen, &pair.pair->rejected}) {
      scored.plans.push_back(trajectory::MakeMaskPlan(*t, plan_options_, pair.use_index));
    }
    const size_t count = scored.plans.size();
    scored.inputs.push_back({pair.pair, &scored.plans[count - 2], &scored.plans[count - 1]});
  }
  DTRPO_ASSIGN_OR_RETURN(scored.policy,
                         objective::ScoreTargets(model(), objective::ScoreInputs(scored.inputs),
                                                 plan_options_.boundary));
  scored.reference = ReferenceScores(pairs);
  DTRPO_ASSIGN_OR_RETURN(
      scored.loss, objective::ComputePreferenceLoss(scored.inputs, scored.policy, scored.reference,
                                                    spec_.objective, global_pairs));
  return scored;
}

absl::StatusOr<std::string> PreferenceTrainer::FirstBadGradient(const StepInput& input) const {
  std::vector<torch::Tensor> parameters;
  for (const auto& [name, tensor] : trained_.trained()) parameters.push_back(tensor);
  for (const TrainingPair& pair : input.pairs) {
    DTRPO_ASSIGN_OR_RETURN(const ScoredPairs scored, Score({&pair, 1}, input.global_pairs));
    double squares = 0;
    // Not backward(): that would add to the step's gradients, and wake the other ranks' hooks.
    DTRPO_RETURN_IF_ERROR(model::TorchBoundary([&] {
      for (const torch::Tensor& gradient :
           torch::autograd::grad({scored.loss.loss}, parameters, {}, /*retain_graph=*/false,
                                 /*create_graph=*/false, /*allow_unused=*/true)) {
        if (gradient.defined())
          squares += gradient.to(torch::kFloat64).square().sum().item<double>();
      }
    }));
    if (!std::isfinite(squares)) return pair.pair->id;
  }
  return "";
}

// Every rank comes here, since all know the norm of the whole gradient.
absl::Status PreferenceTrainer::NameBadGradient(const StepInput& input, StepOutcome& outcome) {
  DTRPO_ASSIGN_OR_RETURN(outcome.offending_pair, FirstBadGradient(input));
  if (group_ == nullptr) return absl::OkStatus();
  DTRPO_ASSIGN_OR_RETURN(const std::vector<std::string> all,
                         group_->AllGatherBytes(outcome.offending_pair));
  for (const std::string& pair : all) {
    outcome.offending_pair = pair;
    if (!pair.empty()) break;
  }
  return absl::OkStatus();
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
    std::optional<Stopwatch> stopwatch(std::in_place, clock_, &outcome.times.forward);
    DTRPO_ASSIGN_OR_RETURN(const ScoredPairs scored, Score(pairs, input.global_pairs));
    statistics.Add(scored.inputs, scored.loss.pairs, ToDoubles(scored.policy),
                   ToDoubles(scored.reference));
    for (const objective::PairTerms& terms : scored.loss.pairs) {
      outcome.priorities.push_back(objective::PairPriority(terms));
    }
    outcome.offending_pair = FirstNonFinite(scored.inputs, scored.loss.pairs);
    outcome.skipped = !outcome.offending_pair.empty();
    if (outcome.skipped) break;
    stopwatch.emplace(clock_, &outcome.times.backward);
    DTRPO_RETURN_IF_ERROR(model::TorchBoundary([&] {
      if (sharded_ != nullptr && begin + micro >= input.pairs.size()) {
        sharded_->BeforeLastBackward();
      }
      scored.loss.loss.backward();
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
  if (outcome.skipped && outcome.offending_pair.empty()) {
    DTRPO_RETURN_IF_ERROR(NameBadGradient(input, outcome));
  }
  if (outcome.skipped) outcome.priorities.clear();
  outcome.values = statistics.Values();
  outcome.values["learning_rate"] = rate;
  outcome.values["gradient_norm"] = norm;
  return outcome;
}

}  // namespace dtrpo::training

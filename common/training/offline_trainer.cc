#include "common/training/offline_trainer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace dtrpo::training {
namespace {

using trajectory::MaskPlan;
using trajectory::PreferencePair;

// The specification that the steps are made by: their number is needed for the learning rate.
job::JobSpec Resolved(job::JobSpec spec, int64_t pairs) {
  const int64_t batch = spec.training.pairs_per_batch;
  if (spec.training.steps == 0) {
    spec.training.steps = (pairs * spec.data.epochs + batch - 1) / batch;
  }
  return spec;
}

}  // namespace

OfflineTrainer::OfflineTrainer(std::unique_ptr<PreferenceTrainer> trainer,
                               const model::Transformer* reference,
                               std::vector<PreferencePair> pairs, const job::JobSpec& spec,
                               const trajectory::MaskPlanOptions& plan_options)
    : pairs_(std::move(pairs)),
      spec_(spec),
      plan_options_(plan_options),
      trainer_(std::move(trainer)),
      reference_(reference, {.boundary = plan_options.boundary}),
      order_(static_cast<int64_t>(pairs_.size()), spec.seed),
      steps_(Resolved(spec, static_cast<int64_t>(pairs_.size())).training.steps),
      max_uses_(spec.training.steps > 0 ? std::numeric_limits<int64_t>::max()
                                        : static_cast<int64_t>(pairs_.size()) * spec.data.epochs) {}

absl::StatusOr<std::unique_ptr<OfflineTrainer>> OfflineTrainer::Create(
    TrainedModel policy, const model::Transformer* reference, std::vector<PreferencePair> pairs,
    const job::JobSpec& spec) {
  if (pairs.empty()) return absl::InvalidArgumentError("there are no pairs to train on");
  DTRPO_ASSIGN_OR_RETURN(const trajectory::MaskPlanOptions plan_options,
                         PlanOptions(spec, policy.model().descriptor().attention));
  DTRPO_ASSIGN_OR_RETURN(
      std::unique_ptr<PreferenceTrainer> trainer,
      PreferenceTrainer::Create(std::move(policy),
                                Resolved(spec, static_cast<int64_t>(pairs.size()))));
  return std::unique_ptr<OfflineTrainer>(
      new OfflineTrainer(std::move(trainer), reference, std::move(pairs), spec, plan_options));
}

absl::StatusOr<StepOutcome> OfflineTrainer::Step() {
  DTRPO_CHECK(step_ < steps_);
  const int64_t size = static_cast<int64_t>(pairs_.size());
  const int64_t batch = std::min<int64_t>(spec_.training.pairs_per_batch, max_uses_ - uses_);
  StepInput input{.step = step_ + 1, .policy_version = step_, .global_pairs = batch, .pairs = {}};
  std::vector<MaskPlan> plans;
  plans.reserve(2 * batch);
  std::vector<objective::ScoreInput> inputs;
  for (int64_t use = uses_; use < uses_ + batch; ++use) {
    const PreferencePair& pair = pairs_[order_.ExampleAt(use)];
    const int32_t use_index = static_cast<int32_t>(use / size);
    for (const trajectory::Trajectory* t : {&pair.chosen, &pair.rejected}) {
      plans.push_back(trajectory::MakeMaskPlan(*t, plan_options_, use_index));
      inputs.push_back({t, &plans.back()});
    }
    input.pairs.push_back(
        {.pair = &pair, .use_index = use_index, .reference_chosen = {}, .reference_rejected = {}});
  }
  DTRPO_ASSIGN_OR_RETURN(std::vector<std::vector<float>> scores, reference_.Score(inputs));
  for (size_t i = 0; i < input.pairs.size(); ++i) {
    input.pairs[i].reference_chosen = std::move(scores[2 * i]);
    input.pairs[i].reference_rejected = std::move(scores[2 * i + 1]);
  }
  DTRPO_ASSIGN_OR_RETURN(StepOutcome outcome, trainer_->Step(input));
  ++step_;
  uses_ += batch;
  skipped_in_a_row_ = outcome.skipped ? skipped_in_a_row_ + 1 : 0;
  if (skipped_in_a_row_ > spec_.training.max_skipped_steps) {
    return absl::DataLossError(absl::StrCat(
        skipped_in_a_row_, " steps in a row gave numbers that aren't finite; last at step ", step_,
        outcome.offending_pair.empty() ? "" : ", pair " + outcome.offending_pair));
  }
  return outcome;
}

void OfflineTrainer::ResumeAt(int64_t step) {
  DTRPO_CHECK(step_ == 0 && step <= steps_) << step;
  step_ = step;
  uses_ = std::min(step * spec_.training.pairs_per_batch, max_uses_);
}

absl::StatusOr<HeldOutPreferences> OfflineTrainer::Evaluate(
    absl::Span<const PreferencePair> heldout) {
  return EvaluatePreferences(
      model(), heldout, HeldOutPlan(plan_options_, model().descriptor().attention), spec_.objective,
      [this](size_t, absl::Span<const objective::ScoreInput> inputs) {
        return reference_.Score(inputs);
      });
}

}  // namespace dtrpo::training

#include "tools/dtrpo/compare/objective_run.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "common/model/torch_boundary.h"
#include "common/training/frozen_scores.h"
#include "common/training/preference_trainer.h"

namespace dtrpo::tools {
namespace {

using trajectory::PreferencePair;

absl::Status CopyWeights(const model::Transformer& from, const model::Transformer& to) {
  return model::TorchBoundary([&] {
    torch::NoGradGuard no_grad;
    const std::vector<torch::Tensor> source = from.Parameters();
    std::vector<torch::Tensor> target = to.Parameters();
    for (size_t i = 0; i < source.size(); ++i) target[i].copy_(source[i]);
  });
}

// Reference scores and the learner's step, as a learner process would take it.
absl::StatusOr<training::StepOutcome> Learn(const std::vector<PreferencePair>& pairs,
                                            int64_t iteration,
                                            const trajectory::MaskPlanOptions& options,
                                            training::FrozenScores& reference,
                                            training::PreferenceTrainer& trainer) {
  std::vector<trajectory::MaskPlan> plans;
  plans.reserve(2 * pairs.size());
  std::vector<objective::ScoreInput> inputs;
  for (const PreferencePair& pair : pairs) {
    for (const trajectory::Trajectory* t : {&pair.chosen, &pair.rejected}) {
      plans.push_back(trajectory::MakeMaskPlan(*t, options, /*use_index=*/0));
      inputs.push_back({t, &plans.back()});
    }
  }
  DTRPO_ASSIGN_OR_RETURN(std::vector<std::vector<float>> scores, reference.Score(inputs));
  training::StepInput step{.step = iteration,
                           .policy_version = iteration - 1,
                           .global_pairs = static_cast<int64_t>(pairs.size()),
                           .pairs = {}};
  for (size_t i = 0; i < pairs.size(); ++i) {
    step.pairs.push_back({.pair = &pairs[i],
                          .use_index = 0,
                          .reference_chosen = std::move(scores[2 * i]),
                          .reference_rejected = std::move(scores[2 * i + 1])});
  }
  return trainer.Step(step);
}

}  // namespace

absl::StatusOr<RunResult> RunObjective(const RunInputs& inputs) {
  base::Clock* const clock = base::RealClock();
  const absl::Time started = clock->Now();
  DTRPO_ASSIGN_OR_RETURN(ModelToTrain policy, LoadModelToTrain(inputs.model));
  DTRPO_ASSIGN_OR_RETURN(const ModelToTrain sampling, LoadModelToTrain(inputs.model));
  const checkpoint::ModelDescriptor descriptor = policy.folder.descriptor();
  DTRPO_ASSIGN_OR_RETURN(const trajectory::MaskPlanOptions options,
                         training::PlanOptions(inputs.spec, descriptor.attention));
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<training::PreferenceTrainer> trainer,
                         training::PreferenceTrainer::Create(std::move(policy.model), inputs.spec));
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<SampledPairs> source,
                         SampledPairs::Create(inputs.prompts, inputs.encoder, inputs.sampling));
  training::FrozenScores reference(inputs.reference, {.boundary = options.boundary});

  RunResult result;
  std::vector<PreferencePair> pairs;
  const int64_t iterations = inputs.spec.training.steps;
  int64_t version = 0;
  for (int64_t n = 1; n <= iterations; ++n) {
    if ((n - 1) % inputs.staleness == 0) {
      version = n - 1;
      DTRPO_RETURN_IF_ERROR(CopyWeights(trainer->model(), sampling.model.model()));
    }
    DTRPO_ASSIGN_OR_RETURN(pairs, source->Next(sampling.model.model(), version));
    const absl::Time before = clock->Now();
    if (!pairs.empty()) {
      DTRPO_ASSIGN_OR_RETURN(const training::StepOutcome outcome,
                             Learn(pairs, n, options, reference, *trainer));
      if (outcome.skipped) {
        return absl::DataLossError(absl::StrCat(
            "iteration ", n, ": numbers that aren't finite, pair '", outcome.offending_pair, "'"));
      }
    }
    result.train_seconds += absl::ToDoubleSeconds(clock->Now() - before);
    result.pairs += static_cast<int64_t>(pairs.size());
    if (n == iterations || (inputs.evaluate_every > 0 && n % inputs.evaluate_every == 0)) {
      DTRPO_ASSIGN_OR_RETURN(const double accuracy, inputs.evaluate(trainer->model()));
      result.accuracy.emplace_back(n, accuracy);
    }
    inputs.progress(n, result.accuracy.empty() ? 0 : result.accuracy.back().second);
  }
  DTRPO_ASSIGN_OR_RETURN(result.cost, CostOf(descriptor, pairs, options));
  DTRPO_ASSIGN_OR_RETURN(result.spread,
                         SpreadOf(trainer->model(), *inputs.reference, pairs, options,
                                  inputs.spec.objective, inputs.variance_draws));
  result.total_seconds = absl::ToDoubleSeconds(clock->Now() - started);
  return result;
}

}  // namespace dtrpo::tools

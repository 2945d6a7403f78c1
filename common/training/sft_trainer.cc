#include "common/training/sft_trainer.h"

#include <torch/autograd.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/torch_boundary.h"
#include "common/training/learning_rate.h"

namespace dtrpo::training {
namespace {

job::TrainingSpec Schedule(const SftOptions& options) {
  job::TrainingSpec spec;
  spec.steps = options.steps;
  spec.learning_rate = options.learning_rate;
  spec.warmup_steps = options.warmup_steps;
  spec.schedule = job::Schedule::kConstant;
  return spec;
}

absl::Status CheckExamples(const std::vector<objective::SftExample>& examples) {
  if (examples.empty()) return absl::InvalidArgumentError("no training examples");
  for (size_t i = 0; i < examples.size(); ++i) {
    const bool no_prompt = examples[i].prompt_tokens.empty();
    if (no_prompt || examples[i].answer_tokens.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("training example ", i, ": its ",
                                                     no_prompt ? "prompt" : "answer", " is empty"));
    }
  }
  return absl::OkStatus();
}

// To the longest one. A bidirectional model sees where the canvas ends; were that always right
// after the stop token, it would learn the canvas's length instead of when to stop. As LLaDA's SFT
// does.
void PadAnswers(int32_t pad_id, std::vector<objective::SftExample>* examples) {
  size_t longest = 0;
  for (const objective::SftExample& example : *examples) {
    longest = std::max(longest, example.answer_tokens.size());
  }
  for (objective::SftExample& example : *examples) example.answer_tokens.resize(longest, pad_id);
}

bool HasTargets(const std::vector<objective::NoisedExample>& batch) {
  return std::any_of(batch.begin(), batch.end(),
                     [](const objective::NoisedExample& e) { return e.plan.target_count > 0; });
}

}  // namespace

SftTrainer::SftTrainer(TrainedModel model, std::vector<objective::SftExample> examples,
                       const SftOptions& options)
    : trained_(std::move(model)),
      examples_(std::move(examples)),
      options_(options),
      schedule_(Schedule(options)),
      order_(static_cast<int64_t>(examples_.size()), options.seed),
      optimizer_(trained_.parameters(), {.weight_decay = options.weight_decay}) {}

absl::StatusOr<std::unique_ptr<SftTrainer>> SftTrainer::Create(
    TrainedModel model, std::vector<objective::SftExample> examples, const SftOptions& options) {
  DTRPO_RETURN_IF_ERROR(CheckExamples(examples));
  if (options.steps < 1 || options.batch_examples < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "steps ", options.steps, ", batch ", options.batch_examples, ": both must be at least 1"));
  }
  const checkpoint::ModelDescriptor& descriptor = model.model().descriptor();
  if (descriptor.attention == checkpoint::Attention::kBidirectional) {
    PadAnswers(descriptor.pad_id, &examples);
  } else if (descriptor.block_size < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("family '", descriptor.family, "' has no block size: give one"));
  }
  return std::unique_ptr<SftTrainer>(
      new SftTrainer(std::move(model), std::move(examples), options));
}

std::vector<objective::NoisedExample> SftTrainer::Batch(int64_t step) {
  std::vector<objective::NoisedExample> batch;
  batch.reserve(options_.batch_examples);
  const int64_t first_use = (step - 1) * options_.batch_examples;
  for (int64_t use = first_use; use < first_use + options_.batch_examples; ++use) {
    batch.push_back(objective::NoiseExample(examples_[order_.ExampleAt(use)], model().descriptor(),
                                            options_.seed, static_cast<uint64_t>(use)));
  }
  return batch;
}

absl::StatusOr<SftStep> SftTrainer::Step() {
  SftStep result;
  result.step = step_ + 1;
  result.learning_rate = LearningRate(schedule_, result.step);
  const std::vector<objective::NoisedExample> batch = Batch(result.step);
  if (!HasTargets(batch)) {
    step_ = result.step;
    return result;
  }
  optimizer_.ZeroGradients();
  DTRPO_ASSIGN_OR_RETURN(const torch::Tensor loss,
                         objective::SftLoss(model(), batch, options_.boundary));
  DTRPO_RETURN_IF_ERROR(model::TorchBoundary([&] {
    loss.backward();
    trained_.CollectGradients();
    result.loss = loss.item<double>();
    result.gradient_norm = optimizer_.GradientNorm();
  }));
  if (!std::isfinite(result.loss) || !std::isfinite(result.gradient_norm)) {
    return absl::FailedPreconditionError(absl::StrCat("step ", result.step, ": loss ", result.loss,
                                                      ", gradient norm ", result.gradient_norm,
                                                      ": not finite; try a lower learning rate"));
  }
  DTRPO_RETURN_IF_ERROR(model::TorchBoundary([&] {
    const double limit = options_.max_gradient_norm;
    if (limit > 0 && result.gradient_norm > limit) {
      optimizer_.ScaleGradients(limit / result.gradient_norm);
    }
    optimizer_.Step(result.learning_rate);
    trained_.UpdateModel();
  }));
  step_ = result.step;
  return result;
}

absl::StatusOr<SftStep> SftTrainer::Run(const SftHooks& hooks) {
  SftStep last;
  while (step_ < options_.steps) {
    DTRPO_ASSIGN_OR_RETURN(last, Step());
    if (hooks.evaluate && options_.evaluate_every > 0 && last.step % options_.evaluate_every == 0) {
      DTRPO_ASSIGN_OR_RETURN(last.heldout_accuracy, hooks.evaluate(model()));
    }
    if (hooks.report) hooks.report(last);
    if (options_.stop_at_accuracy > 0 && last.heldout_accuracy >= options_.stop_at_accuracy) break;
  }
  return last;
}

}  // namespace dtrpo::training

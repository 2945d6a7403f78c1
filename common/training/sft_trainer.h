// Thread safety: one thread at a time.
//
// Supervised fine-tuning of a block-diffusion model: batches of noised answers (sft_loss.h), AdamW,
// clipping, linear warm-up to a constant rate. Everything random is a function of the seed, so the
// same examples, options and number of LibTorch threads give the same weights bit for bit.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "common/dtrpo/sft_loss.h"
#include "common/job/job_spec.h"
#include "common/model/transformer.h"
#include "common/training/adamw.h"
#include "common/training/sft_order.h"
#include "common/training/trained_model.h"
#include "common/trajectory/mask_plan.h"

namespace dtrpo::training {

struct SftOptions {
  int64_t steps = 1000;
  int32_t batch_examples = 32;
  double learning_rate = 2e-5;
  int32_t warmup_steps = 0;
  double weight_decay = 0;
  double max_gradient_norm = 1;  // 0: no clipping
  trajectory::Boundary boundary = trajectory::Boundary::kClean;
  uint64_t seed = 1;
  int64_t evaluate_every = 0;   // steps; 0: never
  double stop_at_accuracy = 0;  // stop at the first evaluation that reaches it; 0: run all steps
};

struct SftStep {
  int64_t step = 0;  // from 1
  double loss = 0;   // before the step's update
  double learning_rate = 0;
  double gradient_norm = 0;                // before clipping
  std::optional<double> heldout_accuracy;  // after the update, on steps that evaluate
};

struct SftHooks {
  // Held-out accuracy of the model as it is. Null: no evaluation. This room knows no sampler, so
  // the caller brings one.
  std::function<absl::StatusOr<double>(const model::Transformer&)> evaluate;
  std::function<void(const SftStep&)> report;  // after every step; may be null
};

class SftTrainer {
 public:
  // INVALID_ARGUMENT for no examples, an empty prompt or answer (naming the example's index), or a
  // block-causal model without blocks.
  static absl::StatusOr<std::unique_ptr<SftTrainer>> Create(
      TrainedModel model, std::vector<objective::SftExample> examples, const SftOptions& options);

  // The next step, without evaluation. A batch of few short answers may by chance have no masked
  // token: then loss and gradient norm are 0 and the weights stay. FAILED_PRECONDITION naming the
  // step when loss or gradient aren't finite; the weights are then as before.
  absl::StatusOr<SftStep> Step();

  // All steps, or until stop_at_accuracy. Returns the last one.
  absl::StatusOr<SftStep> Run(const SftHooks& hooks);

  const model::Transformer& model() const { return trained_.model(); }

 private:
  SftTrainer(TrainedModel model, std::vector<objective::SftExample> examples,
             const SftOptions& options);
  std::vector<objective::NoisedExample> Batch(int64_t step);

  TrainedModel trained_;
  const std::vector<objective::SftExample> examples_;
  const SftOptions options_;
  const job::TrainingSpec schedule_;
  SftOrder order_;
  AdamW optimizer_;
  int64_t step_ = 0;  // done
};

}  // namespace dtrpo::training

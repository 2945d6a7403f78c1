// Thread safety: one thread at a time.
//
// Training on a fixed set of preference pairs in one process: policy, frozen reference and pairs
// side by side, no services. Everything random is a function of the job's seed, so the same pairs,
// job and number of LibTorch threads give the same weights bit for bit.
//
// Pairs come in epochs, each a permutation of its own. The n-th use of a pair has its n-th draw.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/job/job_spec.h"
#include "common/model/transformer.h"
#include "common/training/frozen_scores.h"
#include "common/training/heldout_preferences.h"
#include "common/training/preference_trainer.h"
#include "common/training/sft_order.h"
#include "common/training/trained_model.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::training {

class OfflineTrainer {
 public:
  // `reference` outlives the trainer and computes in the policy's dtype. Of the job's
  // specification, objective, training and seed count, and data.epochs where training.steps is 0.
  // INVALID_ARGUMENT for no pairs.
  static absl::StatusOr<std::unique_ptr<OfflineTrainer>> Create(
      TrainedModel policy, const model::Transformer* reference,
      std::vector<trajectory::PreferencePair> pairs, const job::JobSpec& spec);

  // Makes the next step. DATA_LOSS when more than max_skipped_steps in a row gave numbers that
  // aren't finite; the weights are then those of the last good one. REQUIRES: step() < steps().
  absl::StatusOr<StepOutcome> Step();

  // See heldout_preferences.h.
  absl::StatusOr<HeldOutPreferences> Evaluate(absl::Span<const trajectory::PreferencePair> heldout);

  // The policy is the one after `step` steps, with the optimizer to match: training goes on there,
  // as if it had never stopped. REQUIRES: before the first Step().
  void ResumeAt(int64_t step);
  AdamW& optimizer() { return trainer_->optimizer(); }

  int64_t step() const { return step_; }    // made
  int64_t steps() const { return steps_; }  // to make
  int64_t uses() const { return uses_; }    // of pairs, so far
  const model::Transformer& model() const { return trainer_->model(); }
  const FrozenScores& reference() const { return reference_; }

 private:
  OfflineTrainer(std::unique_ptr<PreferenceTrainer> trainer, const model::Transformer* reference,
                 std::vector<trajectory::PreferencePair> pairs, const job::JobSpec& spec,
                 const trajectory::MaskPlanOptions& plan_options);

  const std::vector<trajectory::PreferencePair> pairs_;
  const job::JobSpec spec_;
  const trajectory::MaskPlanOptions plan_options_;
  const std::unique_ptr<PreferenceTrainer> trainer_;
  FrozenScores reference_;
  SftOrder order_;
  const int64_t steps_;
  const int64_t max_uses_;  // the last batch of the last epoch may be smaller
  int64_t step_ = 0;
  int64_t uses_ = 0;
  int32_t skipped_in_a_row_ = 0;
};

}  // namespace dtrpo::training

// Thread safety: one thread at a time.
//
// One learner step: score the states of the pairs with the policy, compute the dTRPO loss against
// the reference's scores, back-propagate by micro-batches, clip, and update. Knows no services: the
// learner process and `dtrpo train` share it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/job/job_spec.h"
#include "common/model/transformer.h"
#include "common/training/adamw.h"
#include "common/training/trained_model.h"
#include "common/trajectory/mask_plan.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::training {

// Borrowed pair with what the reference said of it. Reference scores are in plan order
// (mask_plan.h).
struct TrainingPair {
  const trajectory::PreferencePair* pair = nullptr;
  int32_t use_index = 0;
  std::vector<float> reference_chosen;
  std::vector<float> reference_rejected;
};

struct StepInput {
  int64_t step = 0;            // n, from 1
  int64_t policy_version = 0;  // V(n)
  int64_t global_pairs = 0;    // over all ranks: the loss divides by it
  std::vector<TrainingPair> pairs;
};

struct StepOutcome {
  // A loss or gradient that isn't finite: weights and optimizer are as before.
  bool skipped = false;
  // The first pair whose loss isn't finite; empty when only the gradient was bad.
  std::string offending_pair;
  // step_statistics.h, and learning_rate, gradient_norm.
  std::map<std::string, double> values;
};

// The draws of a job; policy and reference must use the same. Unless the job says what they are
// made from, it is the block, and the whole sequence for bidirectional models.
absl::StatusOr<trajectory::MaskPlanOptions> PlanOptions(const job::JobSpec& spec,
                                                        checkpoint::Attention attention);

class PreferenceTrainer {
 public:
  static absl::StatusOr<std::unique_ptr<PreferenceTrainer>> Create(TrainedModel model,
                                                                   const job::JobSpec& spec);

  absl::StatusOr<StepOutcome> Step(const StepInput& input);

  const model::Transformer& model() const { return trained_.model(); }
  const TrainedModel& trained() const { return trained_; }
  AdamW& optimizer() { return optimizer_; }

 private:
  PreferenceTrainer(TrainedModel model, const job::JobSpec& spec,
                    const trajectory::MaskPlanOptions& plan_options);

  TrainedModel trained_;
  const job::JobSpec spec_;
  const trajectory::MaskPlanOptions plan_options_;
  AdamW optimizer_;
};

}  // namespace dtrpo::training

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
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/base/clock.h"
#include "common/collectives/process_group.h"
#include "common/dtrpo/step_statistics.h"
#include "common/job/job_spec.h"
#include "common/model/transformer.h"
#include "common/training/adamw.h"
#include "common/training/sharded_optimizer.h"
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

// Where the time of a step went. On a GPU what a phase queues may run in the next one; the forward
// and the gradient's norm are waited for.
struct StepTimes {
  absl::Duration forward;    // scores, loss and statistics
  absl::Duration backward;   // with what ranks exchange meanwhile
  absl::Duration allreduce;  // waiting for the gradients and the words of other ranks
  absl::Duration optimizer;
};

struct StepOutcome {
  // A loss or gradient that isn't finite: weights and optimizer are as before.
  bool skipped = false;
  // The first pair whose loss isn't finite, else the first whose own gradient isn't; empty when
  // only their sum was too large.
  std::string offending_pair;
  // Of input.pairs, in their order (preference_loss.h); empty when skipped.
  std::vector<double> priorities;
  // step_statistics.h, and learning_rate, gradient_norm.
  std::map<std::string, double> values;
  StepTimes times;
};

// The draws of a job; policy and reference must use the same. Unless the job says what they are
// made from, it is the block, and the whole sequence for bidirectional models.
absl::StatusOr<trajectory::MaskPlanOptions> PlanOptions(const job::JobSpec& spec,
                                                        checkpoint::Attention attention);

class PreferenceTrainer {
 public:
  // With a `group` the trainer is one of its ranks: each makes the same steps, with its slices of
  // their pairs, and all have the same outcome and weights. An error of Step() is this rank's own;
  // the others then wait for it until somebody aborts the group. `group` outlives the trainer.
  static absl::StatusOr<std::unique_ptr<PreferenceTrainer>> Create(
      TrainedModel model, const job::JobSpec& spec, collectives::ProcessGroup* group = nullptr,
      base::Clock* clock = base::RealClock());

  absl::StatusOr<StepOutcome> Step(const StepInput& input);

  const model::Transformer& model() const { return trained_.model(); }
  const TrainedModel& trained() const { return trained_; }
  // Of a trainer without a group.
  AdamW& optimizer() { return *optimizer_; }
  // Null without a group.
  ShardedOptimizer* sharded_optimizer() { return sharded_.get(); }

 private:
  struct ScoredPairs;
  absl::StatusOr<ScoredPairs> Score(absl::Span<const TrainingPair> pairs,
                                    int64_t global_pairs) const;
  // Looks at each pair alone; touches no gradient of the step.
  absl::StatusOr<std::string> FirstBadGradient(const StepInput& input) const;
  absl::Status NameBadGradient(const StepInput& input, StepOutcome& outcome);

  PreferenceTrainer(TrainedModel model, const job::JobSpec& spec,
                    const trajectory::MaskPlanOptions& plan_options,
                    collectives::ProcessGroup* group, base::Clock* clock);
  // After the backward passes. `norm`: of the gradients of all ranks.
  absl::Status Update(double rate, StepOutcome& outcome, double& norm);
  absl::Status UpdateWithOthers(double rate, objective::StepStatistics& statistics,
                                StepOutcome& outcome, double& norm);

  TrainedModel trained_;
  const job::JobSpec spec_;
  const trajectory::MaskPlanOptions plan_options_;
  collectives::ProcessGroup* const group_;
  base::Clock* const clock_;
  std::unique_ptr<AdamW> optimizer_;           // without a group
  std::unique_ptr<ShardedOptimizer> sharded_;  // with one
};

}  // namespace dtrpo::training

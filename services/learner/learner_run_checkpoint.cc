// The part of LearnerRun that writes checkpoints.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/fault_points.h"
#include "common/base/logging.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/retention.h"
#include "common/training/training_state.h"
#include "services/learner/learner_run.h"

namespace dtrpo::learner {

std::string LearnerRun::checkpoints_folder() const {
  return base::JoinPath(options_.spec.output, "checkpoints");
}

// The best weights can only be kept if those that are evaluated are saved.
bool LearnerRun::WillBeEvaluated() const {
  const job::JobSpec& spec = options_.spec;
  const int64_t every = int64_t{spec.evaluation.every_versions} * spec.training.publish_every;
  return spec.evaluation.keep_best && !spec.data.heldout.empty() && every > 0 && step_ % every == 0;
}

// Only when the checkpoint is durable and known to the coordinator may replay forget the batches it
// contains.
absl::Status LearnerRun::Checkpoint() {
  if (step_ == checkpointed_step_) return absl::OkStatus();
  checkpoint_asked_ = false;
  const absl::Time started = deps_.clock->Now();
  const std::string path =
      checkpoint::CheckpointRoot(deps_.files, checkpoints_folder()).PathOf(step_);
  if (deps_.group != nullptr) {
    // Every part is durable before the leader makes them one checkpoint.
    if (!leads()) {
      DTRPO_RETURN_IF_ERROR(
          training::WriteCheckpointPart(deps_.files, path, *trainer_->sharded_optimizer()));
      DTRPO_FAULT_POINT("learner.part_written");
    }
    DTRPO_RETURN_IF_ERROR(deps_.group->AllGatherBytes("part written").status());
    if (!leads()) {
      checkpointed_step_ = step_;
      return absl::OkStatus();
    }
  }
  DTRPO_RETURN_IF_ERROR(training::WriteTrainingCheckpoint(
      deps_.files, path, trainer_->model(), *base_,
      deps_.group == nullptr ? &trainer_->optimizer() : nullptr,
      {.job_id = options_.job_id,
       .job_hash = options_.job_hash,
       .step = step_,
       .trained = model::Describe(training::TrainedPartsOf(options_.spec))},
      {.max_shard_bytes = options_.spec.training.max_shard_bytes,
       .adapter_only = options_.spec.training.lora.save == "adapter",
       .sharded = trainer_->sharded_optimizer()}));
  DTRPO_FAULT_POINT("learner.checkpoint_written");
  const absl::Time written = deps_.clock->Now();
  deps_.metrics->checkpoint_seconds->Observe(absl::ToDoubleSeconds(written - started));
  deps_.metrics->checkpoint_time->Set(absl::ToDoubleSeconds(written - absl::UnixEpoch()));
  base::LogInfo("checkpoint", {{"job", options_.job_id}, {"step", step_}, {"path", path}});
  return SettleCheckpoint(path);
}

// What follows a durable checkpoint. Each part may be done again.
absl::Status LearnerRun::SettleCheckpoint(const std::string& path) {
  checkpoint::CheckpointRoot root(deps_.files, checkpoints_folder());
  std::vector<int64_t> kept;
  DTRPO_RETURN_IF_ERROR(Persist(absl::StrCat("registration of checkpoint ", step_), "coordinator",
                                [&](absl::Time deadline) -> absl::Status {
                                  DTRPO_ASSIGN_OR_RETURN(
                                      kept, deps_.peers->RegisterCheckpoint(step_, path, deadline));
                                  return absl::OkStatus();
                                }));
  DTRPO_FAULT_POINT("learner.before_latest");
  DTRPO_RETURN_IF_ERROR(root.SetLatest(step_));
  DTRPO_FAULT_POINT("learner.before_acknowledge");
  DTRPO_RETURN_IF_ERROR(Acknowledge());
  DTRPO_FAULT_POINT("learner.after_acknowledge");
  checkpointed_step_ = step_;
  checkpoint_path_ = path;
  DTRPO_RETURN_IF_ERROR(EvaluatePairs());
  return root.Prune(std::max(1, options_.spec.training.keep_checkpoints), kept).status();
}

// The attempt before may have died between the checkpoint and any of these: replay would soon form
// no more batches, and the oldest checkpoint would stay for ever when no step is left.
absl::Status LearnerRun::SettleResumed() {
  const std::string path =
      checkpoint::CheckpointRoot(deps_.files, checkpoints_folder()).PathOf(step_);
  const bool own = leads() && path == options_.resume_checkpoint;  // not after a rollback
  return own ? SettleCheckpoint(path) : Acknowledge();
}

}  // namespace dtrpo::learner

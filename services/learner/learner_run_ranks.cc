// The part of LearnerRun that makes it one rank of several.
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/training/training_state.h"
#include "services/learner/learner_run.h"

namespace dtrpo::learner {
namespace {

// At what is desired, while waiting for anything.
constexpr absl::Duration kLookAgain = absl::Milliseconds(500);

}  // namespace

absl::Status LearnerRun::JoinOthers() {
  base::ScopedWait wait(deps_.waits, "the other ranks", deps_.group->Who());
  DTRPO_RETURN_IF_ERROR(deps_.group->Join());
  // They begin at the same place, or their steps would mean different things.
  const std::string own =
      absl::StrCat(options_.job_id, "/", options_.job_hash, "/", options_.resume_checkpoint);
  DTRPO_ASSIGN_OR_RETURN(const std::vector<std::string> all, deps_.group->AllGatherBytes(own));
  for (size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank] == own) continue;
    return absl::FailedPreconditionError(absl::StrCat("rank ", rank, " begins at ", all[rank], ", ",
                                                      deps_.group->Who(), " at ", own));
  }
  return absl::OkStatus();
}

absl::Status LearnerRun::RestoreOptimizer() {
  const std::string& path = options_.resume_checkpoint;
  if (deps_.group == nullptr) return training::RestoreOptimizer(path, trainer_->optimizer());
  DTRPO_ASSIGN_OR_RETURN(const training::SavedOptimizer saved,
                         training::SavedOptimizer::Open(deps_.files, path));
  return trainer_->sharded_optimizer()->Restore(saved);
}

absl::StatusOr<Word> LearnerRun::NextWord(BatchFeeder& feeder, std::optional<FedBatch>& fed) {
  if (deps_.group == nullptr) {
    if (!MayContinue()) return Word::kLeave;
    if (!stop_.empty()) return Word::kEnd;
  } else if (leaving()) {
    return Word::kLeave;
  } else if (!leads()) {
    return Word::kStep;
  } else if (checkpoint_asked_ && step_ != checkpointed_step_) {
    return Word::kCheckpoint;
  } else if (!stop_.empty()) {
    return Word::kEnd;
  } else if (desired() == Desired::kPause) {
    if (step_ != checkpointed_step_) return Word::kCheckpoint;
    deps_.clock->SleepFor(kLookAgain);
    return Word::kWait;
  }
  absl::StatusOr<FedBatch> next = feeder.Next(deps_.clock->Now() + kLookAgain);
  if (absl::IsDeadlineExceeded(next.status())) {
    return feeder.checkpoint_wanted() ? Word::kCheckpoint : Word::kWait;
  }
  if (absl::IsOutOfRange(next.status())) return Word::kEnd;
  DTRPO_RETURN_IF_ERROR(NotePeer(next.status()));
  fed = *std::move(next);
  return Word::kStep;
}

// What the leader has, the store has for every rank: the wait is a short one.
absl::StatusOr<FedBatch> LearnerRun::OwnSlice(BatchFeeder& feeder) {
  for (;;) {
    absl::StatusOr<FedBatch> next = feeder.Next(deps_.clock->Now() + kLookAgain);
    if (!absl::IsDeadlineExceeded(next.status()) || desired() == Desired::kAbandon) {
      DTRPO_RETURN_IF_ERROR(NotePeer(next.status()));
      return next;
    }
  }
}

}  // namespace dtrpo::learner

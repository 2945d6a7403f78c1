// The part of JobRun that deals with the learner, and with the end of training.
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "services/coordinator/job_run.h"

namespace dtrpo::coordinator {

absl::Status JobRun::RegisterVersion(const v1::RegisterVersionRequest& request, absl::Time now) {
  DTRPO_RETURN_IF_ERROR(base::Annotate(job_.CheckAttempt(request.job().attempt()), "job ", id_));
  if (request.manifest().job_id() != id_) {
    return absl::InvalidArgumentError(absl::StrCat("job ", id_, ": the manifest is of job \"",
                                                   request.manifest().job_id(), "\""));
  }
  DTRPO_ASSIGN_OR_RETURN(const VersionRegistry::Outcome outcome,
                         base::Annotate(versions_.Register(request.manifest()), "job ", id_));
  if (outcome == VersionRegistry::Outcome::kReplaced) {
    evaluations_.ForgetFrom(request.manifest().version());
  }
  evaluations_.OnVersion(request.manifest().version(), request.step(), now);
  Changed();
  return absl::OkStatus();
}

absl::StatusOr<v1::ReportStepResponse> JobRun::ReportStep(const v1::ReportStepRequest& request,
                                                          absl::Time now) {
  DTRPO_RETURN_IF_ERROR(base::Annotate(job_.CheckAttempt(request.job().attempt()), "job ", id_));
  v1::StepRecord record = request.record();
  if (record.step() < 1 || record.step() > spec_.training.steps) {
    return absl::InvalidArgumentError(absl::StrCat("job ", id_, ": step ", record.step(),
                                                   " is not one of 1 to ", spec_.training.steps));
  }
  if (record.unix_ms() == 0) record.set_unix_ms(absl::ToUnixMillis(now));
  // The curve of the reward beside the learner's own numbers, which only know of pairs.
  if (!recent_rewards_.empty()) (*record.mutable_values())["reward_mean"] = RewardMean();
  step_ = record.step();
  history_.Add(record);
  Changed();
  v1::ReportStepResponse response;
  response.set_checkpoint_now(checkpoint_wanted_);
  return response;
}

absl::Status JobRun::RegisterCheckpoint(const v1::RegisterCheckpointRequest& request) {
  DTRPO_RETURN_IF_ERROR(base::Annotate(job_.CheckAttempt(request.job().attempt()), "job ", id_));
  if (request.path().empty()) {
    return absl::InvalidArgumentError(absl::StrCat("job ", id_, ": field path is empty"));
  }
  if (request.step() < checkpoint_step_) {
    return absl::FailedPreconditionError(absl::StrCat("job ", id_, ": checkpoint of step ",
                                                      request.step(), ", but that of step ",
                                                      checkpoint_step_, " is registered"));
  }
  checkpoint_ = request.path();
  checkpoint_step_ = request.step();
  Changed();
  return absl::OkStatus();
}

absl::Status JobRun::FinishTraining(const v1::FinishTrainingRequest& request, absl::Time now) {
  if (training_finished_ && request.job().attempt() == job_.attempt()) return absl::OkStatus();
  DTRPO_RETURN_IF_ERROR(base::Annotate(job_.CheckAttempt(request.job().attempt()), "job ", id_));
  if (request.attempt_only()) {
    Changed();
    LoseGang(request.reason(), now);
    return absl::OkStatus();
  }
  if (!request.checkpoint().empty()) {
    checkpoint_ = request.checkpoint();
    checkpoint_step_ = request.step();
  }
  training_finished_ = true;
  training_finished_at_ = now;
  finish_reason_ = request.reason();
  if (request.step() > 0) step_ = request.step();
  Changed();
  if (!request.succeeded()) {
    job_.Fail(request.reason().empty() ? "the learner gave up without a reason" : request.reason());
    End(now);
    return absl::OkStatus();
  }
  evaluations_.Begin(versions_.newest(), step_, now);
  return absl::OkStatus();
}

void JobRun::SucceedIfComplete(absl::Time now) {
  if (evaluations_.HasUnfinished()) {
    if (job_.Explain("final evaluation")) Changed();
    return;
  }
  const bool waited = now - training_finished_at_ > options_.last_events_timeout;
  if (!last_events_seen_ && !waited) {
    if (job_.Explain("waiting for the replay store's last events")) Changed();
    return;
  }
  std::string reason = finish_reason_;
  if (evaluations_.outcome(versions_.newest()) == Evaluations::Outcome::kGivenUp) {
    absl::StrAppend(&reason, reason.empty() ? "" : "; ",
                    "without the final evaluation: no rollout held version ", versions_.newest());
  }
  job_.Succeed(std::move(reason));
  End(now);
}

}  // namespace dtrpo::coordinator

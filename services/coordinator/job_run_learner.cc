// The part of JobRun that deals with the learner, and with the end of training.
#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/logging.h"
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
    checkpoints_.ForgetEvaluationsFrom(request.step() + 1);
    events_.Add(now, "weights",
                absl::StrCat("version ", request.manifest().version(),
                             " has other weights from now on, and later ones are void (generation ",
                             request.manifest().generation(), ")"));
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
  if (auto skipped = record.values().find("skipped");
      skipped != record.values().end() && skipped->second != 0) {
    events_.Warn(now, "step", absl::StrCat("step ", step_, " skipped: numbers that aren't finite"));
  }
  history_.Add(record);
  Changed();
  v1::ReportStepResponse response;
  response.set_checkpoint_now(checkpoint_wanted_);
  response.set_stop(checkpoints_.stop());
  return response;
}

absl::StatusOr<v1::RegisterCheckpointResponse> JobRun::RegisterCheckpoint(
    const v1::RegisterCheckpointRequest& request, absl::Time now) {
  DTRPO_RETURN_IF_ERROR(base::Annotate(job_.CheckAttempt(request.job().attempt()), "job ", id_));
  if (request.path().empty()) {
    return absl::InvalidArgumentError(absl::StrCat("job ", id_, ": field path is empty"));
  }
  const bool again = checkpoints_.newest().path == request.path();
  DTRPO_RETURN_IF_ERROR(base::Annotate(
      checkpoints_.Register(request.step(), request.path(), evaluations_.UnfinishedSteps(), now),
      "job ", id_));
  if (!again) {
    events_.Add(now, "checkpoint", absl::StrCat("step ", request.step(), ": ", request.path()));
  }
  Changed();
  v1::RegisterCheckpointResponse response;
  for (int64_t step : checkpoints_.KeptFolders()) response.add_keep_steps(step);
  return response;
}

void JobRun::OnEvaluated(const v1::EvaluationRecord& record, absl::Time now) {
  std::string text = absl::StrCat("version ", record.version(), " (step ", record.step(),
                                  "): ", record.correct(), " of ", record.total(), " right");
  if (record.failed() > 0) absl::StrAppend(&text, ", ", record.failed(), " failed");
  if (record.total() > 0) {
    const double accuracy =
        static_cast<double>(record.correct()) / static_cast<double>(record.total());
    const bool better = !OnlyEvaluates() && checkpoints_.OnEvaluated(record.step(), accuracy);
    absl::StrAppendFormat(&text, " (%.1f %%)%s", 100 * accuracy, better ? ", the best so far" : "");
  }
  for (const v1::EvaluationEstimate& pass : record.estimates()) {
    if (record.policies_size() < 2 || !pass.category().empty()) continue;
    absl::StrAppendFormat(&text, "; %s: pass@%d %.1f %%", pass.unmask(), pass.k(),
                          100 * pass.value());
  }
  events_.Add(now, "evaluation", text);
  if (!checkpoints_.stop().empty()) events_.Add(now, "evaluation", checkpoints_.stop());
}

absl::StatusOr<SavedCheckpoint> JobRun::RollBackTarget(
    const v1::RollBackJobRequest& request) const {
  if (OnlyEvaluates()) {
    return absl::FailedPreconditionError(
        absl::StrCat("job ", id_, " can't be rolled back: it trains nothing"));
  }
  if (final() || training_finished_ || state() == JobState::kPending) {
    return absl::FailedPreconditionError(absl::StrCat(
        "job ", id_, " can't be rolled back: ",
        state() == JobState::kPending ? "it hasn't begun"
        : final()                     ? absl::StrCat("it is ", Name(state()))
                                      : "its training has ended",
        final() || training_finished_ ? "; model.from_job starts another job from its weights"
                                      : ""));
  }
  return base::Annotate(checkpoints_.Find(request), "job ", id_);
}

absl::Status JobRun::RollBack(const v1::RollBackJobRequest& request, absl::Time now) {
  DTRPO_ASSIGN_OR_RETURN(const SavedCheckpoint target, RollBackTarget(request));
  const int64_t step = std::max<int64_t>(0, checkpoints_.newest().step);
  checkpoints_.RollBackTo(target, now);
  const std::string why =
      absl::StrCat("rolled back by a client to the weights of ",
                   target.path.empty() ? "the base model" : absl::StrCat("step ", target.step),
                   ", as those of step ", step);
  base::LogInfo("job rolled back", {{"job", id_}, {"to", target.path}, {"step", step}});
  events_.Add(now, "state", why);
  gang_.Disband(why, now);
  job_.EndAttempt(why);
  Changed();
  return absl::OkStatus();
}

v1::ListJobEventsResponse JobRun::Events(int64_t after, int32_t max) const {
  v1::ListJobEventsResponse response;
  for (v1::JobEvent& event : events_.After(after, max)) *response.add_events() = std::move(event);
  response.set_state(ToProto(state()));
  return response;
}

absl::Status JobRun::FinishTraining(const v1::FinishTrainingRequest& request, absl::Time now) {
  if (training_finished_ && request.job().attempt() == job_.attempt()) return absl::OkStatus();
  DTRPO_RETURN_IF_ERROR(base::Annotate(job_.CheckAttempt(request.job().attempt()), "job ", id_));
  if (request.attempt_only()) {
    Changed();
    LoseGang(request.reason(), now);
    return absl::OkStatus();
  }
  // Usually it is registered already; after a rollback its folder is of an earlier step.
  if (!request.checkpoint().empty() && request.checkpoint() != checkpoints_.newest().path) {
    checkpoints_.Register(request.step(), request.checkpoint(), evaluations_.UnfinishedSteps(), now)
        .IgnoreError();
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
    Explain("final evaluation", now);
    return;
  }
  const bool waited = now - training_finished_at_ > options_.last_events_timeout;
  if (!last_events_seen_ && !waited) {
    Explain("waiting for the replay store's last events", now);
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

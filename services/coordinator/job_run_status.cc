// The part of JobRun that says how it stands: to clients, and to workers as their assignment.
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/wire/job_codec.h"
#include "services/coordinator/job_run.h"

namespace dtrpo::coordinator {

v1::JobState ToProto(JobState state) {
  switch (state) {
    case JobState::kPending:
      return v1::PENDING;
    case JobState::kRunning:
      return v1::RUNNING;
    case JobState::kPaused:
      return v1::PAUSED;
    case JobState::kRestarting:
      return v1::RESTARTING;
    case JobState::kSucceeded:
      return v1::SUCCEEDED;
    case JobState::kFailed:
      return v1::FAILED;
    case JobState::kCancelled:
      return v1::JOB_CANCELLED;
  }
  return v1::JOB_STATE_UNSPECIFIED;
}

v1::Assignment JobRun::AssignmentFor(const Worker& worker) const {
  v1::Assignment assignment;
  assignment.mutable_job()->set_job_id(id_);
  if (worker.role == kLearner) {
    assignment.set_rank(gang_.RankOf(worker.id));
    assignment.set_world(gang_.world());
    assignment.set_rendezvous(gang_.rendezvous());
    assignment.set_reason(gang_.lost_why());
    assignment.mutable_job()->set_attempt(job_.attempt());
    const SavedCheckpoint& resume = checkpoints_.newest();
    assignment.set_resume_checkpoint(resume.path);
    if (resume.step != resume.folder_step) assignment.set_resume_step(resume.step);
  }
  wire::ToProto(spec_, assignment.mutable_spec());
  assignment.set_state(ToProto(state()));
  assignment.set_newest_version(versions_.newest());
  if (versions_.newest_manifest().version() == versions_.newest() &&
      !versions_.newest_manifest().sha256().empty()) {
    *assignment.mutable_newest_manifest() = versions_.newest_manifest();
  }
  for (int64_t version : evaluations_.PinnedVersions()) assignment.add_pinned_versions(version);
  assignment.set_training_finished(training_finished_);
  return assignment;
}

v1::JobStatus JobRun::Status(absl::Time now, int64_t steps_after) const {
  v1::JobStatus status;
  status.set_job_id(id_);
  status.set_state(ToProto(state()));
  status.set_reason(job_.reason());
  if (!replay_problem_.empty() && !final()) {
    status.set_reason(
        absl::StrCat(job_.reason(), job_.reason().empty() ? "" : "; ", replay_problem_));
  }
  wire::ToProto(spec_, status.mutable_spec());
  status.set_attempt(job_.attempt());
  status.set_step(step_);
  status.set_total_steps(spec_.training.steps);
  status.set_version(versions_.newest());
  status.set_checkpoint(checkpoints_.newest().path);
  for (const SavedCheckpoint& saved : checkpoints_.All()) {
    *status.add_checkpoints() = ToRecord(saved);
  }
  if (checkpoints_.best().step >= 0) {
    *status.mutable_best_checkpoint() = ToRecord(checkpoints_.best());
    status.set_best_accuracy(checkpoints_.best_accuracy());
  }

  const LedgerCounts counts = ledger_.counts();
  v1::PromptCounts* prompts = status.mutable_prompts();
  prompts->set_leased(counts.leased);
  prompts->set_stored(counts.stored);
  prompts->set_waiting(counts.waiting);
  prompts->set_consumed(counts.consumed);
  prompts->set_no_pair(counts.no_pair);
  prompts->set_failed(counts.failed);
  prompts->set_cancelled(counts.cancelled);
  prompts->set_issued(counts.issued);
  prompts->set_evicted_and_leased_again(counts.evictions);

  if (pairs_.has_value()) *status.mutable_pairs() = pairs_->counts();
  for (const auto& [step, evaluation] : pair_evaluations_) {
    *status.add_pair_evaluations() = evaluation;
  }

  status.set_reward_mean(RewardMean());
  *status.mutable_rewards() = Rewards();
  if (!final()) {
    status.set_rollout_tokens_per_second(tokens_rate_.PerSecond(now));
    if (!training_finished_) status.set_seconds_left(history_.SecondsLeft(spec_.training.steps));
  }
  status.set_rollout_tokens(tokens_);
  status.set_rollout_samples(samples_);
  status.set_submitted_unix_ms(absl::ToUnixMillis(submitted_));
  if (started_ != absl::InfiniteFuture()) status.set_started_unix_ms(absl::ToUnixMillis(started_));
  if (finished_ != absl::InfiniteFuture()) {
    status.set_finished_unix_ms(absl::ToUnixMillis(finished_));
  }
  for (v1::EvaluationRecord& record : evaluations_.Records()) {
    *status.add_evaluations() = std::move(record);
  }
  if (steps_after >= 0) {
    for (v1::StepRecord& record : history_.After(steps_after)) {
      *status.add_steps() = std::move(record);
    }
  }
  return status;
}

void JobRun::Show(const CoordinatorMetrics& metrics, absl::Time now) const {
  const auto set = [&](const char* name, auto value) {
    metrics.Set(id_, name, static_cast<double>(value));
  };
  set(CoordinatorMetrics::kStep, step_);
  set(CoordinatorMetrics::kStepsWanted, spec_.training.steps);
  set(CoordinatorMetrics::kAttempt, job_.attempt());
  set(CoordinatorMetrics::kVersion, versions_.newest());
  set(CoordinatorMetrics::kTokenRate, tokens_rate_.PerSecond(now));
  int64_t evaluations = 0;
  for (const v1::EvaluationRecord& record : evaluations_.Records()) {
    if (!record.complete() || record.total() == 0) continue;
    ++evaluations;
    set(CoordinatorMetrics::kAccuracy,
        static_cast<double>(record.correct()) / static_cast<double>(record.total()));
  }
  set(CoordinatorMetrics::kEvaluations, evaluations);
  ShowRewards(metrics);
  const LedgerCounts counts = ledger_.counts();
  const std::pair<const char*, int64_t> prompts[] = {
      {"leased", counts.leased},      {"stored", counts.stored},   {"waiting", counts.waiting},
      {"consumed", counts.consumed},  {"no_pair", counts.no_pair}, {"failed", counts.failed},
      {"cancelled", counts.cancelled}};
  for (const auto& [state, count] : prompts) {
    metrics.SetPrompts(id_, state, static_cast<double>(count));
  }
}

}  // namespace dtrpo::coordinator

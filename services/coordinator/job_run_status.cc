// The part of JobRun that says how it stands: to clients, and to workers as their assignment.
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
    assignment.set_resume_checkpoint(checkpoint_);
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

double JobRun::RewardMean() const {
  double reward_sum = 0;
  int64_t samples = 0;
  for (const auto& [sum, count] : recent_rewards_) {
    reward_sum += sum;
    samples += count;
  }
  return samples == 0 ? 0 : reward_sum / static_cast<double>(samples);
}

v1::JobStatus JobRun::Status(absl::Time now, int64_t steps_after) const {
  v1::JobStatus status;
  status.set_job_id(id_);
  status.set_state(ToProto(state()));
  status.set_reason(job_.reason());
  wire::ToProto(spec_, status.mutable_spec());
  status.set_attempt(job_.attempt());
  status.set_step(step_);
  status.set_total_steps(spec_.training.steps);
  status.set_version(versions_.newest());
  status.set_checkpoint(checkpoint_);

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
  metrics.step->Set(static_cast<double>(step_));
  metrics.version->Set(static_cast<double>(versions_.newest()));
  metrics.reward_mean->Set(RewardMean());
  metrics.tokens_per_second->Set(tokens_rate_.PerSecond(now));
  for (const v1::EvaluationRecord& record : evaluations_.Records()) {
    if (record.complete() && record.total() > 0) {
      metrics.heldout_accuracy->Set(static_cast<double>(record.correct()) /
                                    static_cast<double>(record.total()));
    }
  }
  const LedgerCounts counts = ledger_.counts();
  metrics.Prompts("leased")->Set(static_cast<double>(counts.leased));
  metrics.Prompts("stored")->Set(static_cast<double>(counts.stored));
  metrics.Prompts("waiting")->Set(static_cast<double>(counts.waiting));
  metrics.Prompts("consumed")->Set(static_cast<double>(counts.consumed));
  metrics.Prompts("no_pair")->Set(static_cast<double>(counts.no_pair));
  metrics.Prompts("failed")->Set(static_cast<double>(counts.failed));
  metrics.Prompts("cancelled")->Set(static_cast<double>(counts.cancelled));
}

}  // namespace dtrpo::coordinator

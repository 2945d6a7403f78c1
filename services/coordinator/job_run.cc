#include "services/coordinator/job_run.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/logging.h"
#include "common/base/status_macros.h"

namespace dtrpo::coordinator {
namespace {

constexpr absl::Duration kRateWindow = absl::Seconds(30);
constexpr size_t kCountedLeases = 20000;

PromptLedger::Options LedgerOptions(const job::JobSpec& spec, size_t prompts,
                                    const JobRun::Options& options) {
  return {.prompts = static_cast<int64_t>(prompts),
          .epochs = prompts > 0 ? spec.data.epochs : 1,
          .shuffle = spec.data.shuffle,
          .seed = spec.seed,
          .max_pairs_per_prompt = spec.reward.max_pairs_per_prompt,
          .lease = options.lease,
          .max_failures = options.max_prompt_attempts,
          .pass_rates = {.min_rate = spec.data.min_pass_rate,
                         .max_rate = spec.data.max_pass_rate,
                         .focus = spec.data.pass_rate_focus,
                         .seed = spec.seed}};
}

Evaluations::Options EvaluationOptions(const job::JobSpec& spec, size_t heldout,
                                       const JobRun::Options& options) {
  // Such a job waits for rollouts, as it has nothing else to do.
  const bool evaluates = spec.kind == job::JobKind::kEval;
  int64_t prompts = static_cast<int64_t>(heldout);
  if (spec.evaluation.max_prompts > 0) {
    prompts = std::min<int64_t>(prompts, spec.evaluation.max_prompts);
  }
  return {.prompts = prompts,
          .every_versions = spec.evaluation.every_versions,
          .show_samples = spec.evaluation.show_samples,
          .lease = options.lease,
          .max_failures = options.max_prompt_attempts,
          .give_up_after = evaluates ? absl::InfiniteDuration() : options.evaluation_give_up_after,
          .samples = spec.evaluation.samples,
          .pass_k = spec.evaluation.pass_k,
          .policies = evaluates ? PoliciesOf(spec) : std::vector<std::string>()};
}

JobCheckpoints::Options CheckpointOptions(const job::JobSpec& spec) {
  return {.keep = spec.training.keep_checkpoints,
          .keep_best = spec.evaluation.keep_best,
          .stop_after = spec.evaluation.stop_after,
          .publish_every = spec.training.publish_every};
}

LearnerGang::Options GangOptions(const job::JobSpec& spec) {
  const job::TrainingSpec& training = spec.training;
  return {.ranks = training.ranks,
          .min_ranks = training.min_ranks > 0 ? training.min_ranks : training.ranks};
}

}  // namespace

JobRun::JobRun(std::string id, job::JobSpec spec, PromptLines prompts, PromptLines heldout,
               const Options& options, absl::Time now)
    : id_(std::move(id)),
      spec_(std::move(spec)),
      options_(options),
      prompts_(std::move(prompts)),
      heldout_(std::move(heldout)),
      job_(options.max_job_attempts),
      ledger_(LedgerOptions(spec_, prompts_.size(), options)),
      evaluations_(EvaluationOptions(spec_, heldout_.size(), options)),
      gang_(GangOptions(spec_)),
      checkpoints_(CheckpointOptions(spec_)),
      counted_leases_(kCountedLeases),
      tokens_rate_(kRateWindow),
      submitted_(now) {
  if (!spec_.data.pairs.empty()) pairs_.emplace();
  events_.Add(now, "state",
              OnlyEvaluates()
                  ? absl::StrCat("submitted: ", heldout_.size(), " questions")
                  : absl::StrCat("submitted: ", spec_.training.steps, " steps, ", prompts_.size(),
                                 " prompts, ", heldout_.size(), " held out"));
}

// ------------------------------------------------------------------ time passes

void JobRun::Advance(const WorkerRegistry& workers, absl::Time now) {
  if (final()) return;
  if (state() == JobState::kPending || state() == JobState::kRestarting) {
    const std::string missing = Missing(workers, now);
    if (missing.empty()) {
      Grant(gang_.Candidates(workers, now), now);
    } else {
      Explain(gang_.lost_why().empty() ? missing : absl::StrCat(missing, "; ", gang_.lost_why()),
              now);
    }
  }
  AdvanceRunning(workers, now);
}

void JobRun::Explain(const std::string& reason, absl::Time now) {
  if (!job_.Explain(reason)) return;
  Changed();
  if (!reason.empty()) events_.Add(now, "state", reason);
}

std::string JobRun::Missing(const WorkerRegistry& workers, absl::Time now) const {
  std::vector<std::string> missing;
  if (!OnlyEvaluates() && replay_ != ReplayState::kOpen)
    missing.push_back("the replay store to open the job");
  for (const char* role : {kLearner, kRollout, kReference}) {
    if (role == kRollout ? !NeedsRollouts() : OnlyEvaluates()) continue;
    if (role == kLearner) {
      // A gang of fewer than wanted still runs.
      if (gang_.empty() && gang_.Candidates(workers, now).empty()) {
        missing.push_back(gang_.Missing(workers));
      }
    } else if (workers.OfRole(role).empty()) {
      missing.push_back(absl::StrCat("a ", role));
    }
  }
  return missing.empty() ? "" : absl::StrCat("waiting for ", absl::StrJoin(missing, ", "));
}

void JobRun::Grant(const std::vector<const Worker*>& learners, absl::Time now) {
  if (!OnlyEvaluates()) gang_.Form(learners);
  job_.GrantLearner();
  if (job_.attempt() == 1) {
    started_ = now;
    evaluations_.Begin(0, 0, now);
  }
  Changed();
  if (OnlyEvaluates()) {
    events_.Add(now, "attempt", absl::StrCat("the questions are handed out: ", heldout_.size()));
    return;
  }
  const int64_t step = checkpoints_.newest().step;
  const std::string& checkpoint = checkpoints_.newest().path;
  events_.Add(
      now, "attempt",
      absl::StrCat(
          "attempt ", job_.attempt(), " begins with ", gang_.leader(),
          gang_.world() > 1 ? absl::StrCat(" and ", gang_.world() - 1, " more") : "",
          step < 0 ? "" : absl::StrCat(", at step ", step),
          checkpoint.empty() ? ", from the base model" : absl::StrCat(" from ", checkpoint)));
  base::LogInfo("job runs", {{"job", id_},
                             {"learner", gang_.leader()},
                             {"ranks", gang_.world()},
                             {"attempt", job_.attempt()}});
}

void JobRun::LoseGang(const std::string& why, absl::Time now) {
  gang_.Disband(why, now);
  if (training_finished_)
    return;  // its work is done; the weights live on in the rollouts and on disk
  base::LogWarning("attempt lost", {{"job", id_}, {"attempt", job_.attempt()}, {"why", why}});
  events_.Warn(now, "attempt", absl::StrCat("attempt ", job_.attempt(), " ended: ", why));
  job_.LoseLearner(why);
  if (final()) End(now);  // that was the last attempt
}

void JobRun::AdvanceRunning(const WorkerRegistry& workers, absl::Time now) {
  const int expired = ledger_.Expire(now) + evaluations_.Expire(now);
  if (expired > 0) {
    base::LogWarning("prompt leases ran out", {{"job", id_}, {"leases", expired}});
    events_.Warn(now, "prompt", absl::StrCat(expired, " leases ran out; they are free again"));
    Changed();
  }
  if (state() != JobState::kRunning) return;

  std::set<int64_t> held;
  for (const Worker* rollout : workers.OfRole(kRollout)) {
    if (rollout->job_id == id_) {
      // One that still loads its weights holds none.
      held.insert(rollout->versions_held.begin(), rollout->versions_held.end());
    }
  }
  const std::vector<int64_t> given_up =
      to_give_up_ ? evaluations_.GiveUp(*to_give_up_) : evaluations_.GiveUpUnheld(held, now);
  for (int64_t version : given_up) {
    given_up_.push_back(version);
    base::LogWarning("evaluation given up: no rollout holds its weights",
                     {{"job", id_}, {"version", version}});
    events_.Warn(now, "evaluation",
                 absl::StrCat("version ", version, " given up: no rollout holds its weights"));
    Changed();
  }
  if (OnlyEvaluates()) return AdvanceEvaluation(workers, now);
  if (ledger_.prompts_without_pair() >= spec_.training.max_prompts_without_pair) {
    job_.Fail(absl::StrCat(
        ledger_.prompts_without_pair(),
        " prompts in a row gave no pair of answers with different rewards "
        "(training.max_prompts_without_pair)",
        last_prompt_error_.empty() ? "" : absl::StrCat("; last error: ", last_prompt_error_)));
    End(now);
    return;
  }
  if (!training_finished_ && !ledger_.closed() && ledger_.Exhausted()) {
    ledger_.Close();
    Changed();
  }
  if (training_finished_) {
    SucceedIfComplete(now);
    return;
  }
  Explain(Missing(workers, now), now);
}

uint64_t JobRun::Digest() const {
  const LedgerCounts counts = ledger_.counts();
  base::StableHasher hasher;
  hasher.Add(id_).Add(revision_).Add(static_cast<uint64_t>(state()));
  for (const int64_t number :
       {int64_t{job_.attempt()}, step_, checkpoints_.newest().step, versions_.newest(),
        event_position_, counts.issued, counts.leased, counts.stored, counts.waiting,
        counts.consumed, counts.no_pair, counts.failed, counts.cancelled, ledger_.UsedPairs(),
        samples_, tokens_}) {
    hasher.Add(static_cast<uint64_t>(number));
  }
  return hasher.Finish();
}

void JobRun::RestoredAt(absl::Time now, const std::string& why) {
  training_finished_at_ = std::min(training_finished_at_, now);
  gang_.RestoredAt(now);
  ledger_.RenewLeases(now);
  evaluations_.RenewLeases(now);
  Changed();
  events_.Add(now, "state", why.empty() ? "the coordinator was started again" : why);
}

void JobRun::End(absl::Time now) {
  finished_ = now;
  ledger_.CancelRest();
  if (pairs_.has_value()) pairs_->CancelRest();
  gang_.Disband(job_.reason(), now);
  ForgetPrompts();
  Changed();
  const std::string end = absl::StrCat(Name(state()), job_.reason().empty() ? "" : ": ",
                                       job_.reason(), ", at step ", step_);
  state() == JobState::kFailed ? events_.Warn(now, "state", end) : events_.Add(now, "state", end);
  const LedgerCounts counts = ledger_.counts();
  base::LogInfo("job ended", {{"job", id_},
                              {"state", Name(state())},
                              {"reason", job_.reason()},
                              {"step", step_},
                              {"consumed", counts.consumed},
                              {"no_pair", counts.no_pair},
                              {"failed", counts.failed},
                              {"cancelled", counts.cancelled}});
}

void JobRun::ForgetPrompts() {
  PromptLines().swap(prompts_);
  PromptLines().swap(heldout_);
}

void JobRun::OnWorkerGone(const std::string& worker_id, const std::string& why, absl::Time now) {
  const int released = ledger_.ReleaseWorker(worker_id) + evaluations_.ReleaseWorker(worker_id);
  if (released > 0) {
    base::LogWarning("leases of a lost worker are free again",
                     {{"job", id_}, {"worker", worker_id}, {"leases", released}});
  }
  Changed();
  events_.Warn(now, "worker", absl::StrCat("lost: ", why));
  if (gang_.RankOf(worker_id) < 0 || final()) return;
  const std::string rank = gang_.Describe(worker_id);
  LoseGang(rank.empty() ? why : absl::StrCat(rank, ": ", why), now);
}

void JobRun::OnWorkerJoined(const Worker& worker, absl::Time now) {
  events_.Add(now, "worker", absl::StrCat(worker.id, " joined, at ", worker.address));
}

// ------------------------------------------------------------------ clients

absl::Status JobRun::Pause(absl::Time now) {
  Changed();
  DTRPO_RETURN_IF_ERROR(base::Annotate(job_.Pause(), "job ", id_));
  events_.Add(now, "state", "paused by a client");
  return absl::OkStatus();
}

absl::Status JobRun::Resume(absl::Time now) {
  Changed();
  DTRPO_RETURN_IF_ERROR(base::Annotate(job_.Resume(), "job ", id_));
  events_.Add(now, "state", "resumed by a client");
  return absl::OkStatus();
}

absl::Status JobRun::Cancel(const std::string& reason, absl::Time now) {
  if (state() == JobState::kCancelled) return absl::OkStatus();
  if (final()) {
    return absl::FailedPreconditionError(
        absl::StrCat("job ", id_, " is ", Name(state()), " and can't be cancelled"));
  }
  job_.Cancel(reason.empty() ? "cancelled by a client" : reason);
  End(now);
  return absl::OkStatus();
}

// ------------------------------------------------------------------ rollouts

v1::LeasePromptsResponse JobRun::Lease(const v1::LeasePromptsRequest& request, absl::Time now) {
  v1::LeasePromptsResponse response;
  if (request.holds_no_lease()) ReleaseLost(request.worker_id());
  const bool leasing = state() == JobState::kRunning || state() == JobState::kRestarting;
  if (!leasing) {
    response.set_reason(absl::StrCat("the job is ", Name(state())));
    response.set_retry_after_ms(500);
    return response;
  }
  const std::vector<int64_t> held(request.versions_held().begin(), request.versions_held().end());
  // Evaluations first: they are short, and the weights they need are held for them.
  for (const EvaluationLease& lease :
       evaluations_.Lease(now, request.worker_id(), request.max_prompts(), held)) {
    v1::PromptLease& out = *response.add_leases();
    out.set_lease_id(lease.lease_id);
    out.set_kind(v1::EVALUATE);
    out.set_prompt_index(lease.prompt);
    out.set_prompt_attempt(lease.attempt);
    out.set_prompt_json(heldout_[lease.question]);
    out.set_version(lease.version);
    out.set_expires_in_ms(absl::ToInt64Milliseconds(lease.expires - now));
    out.set_keep_sample(lease.keep_sample);
    out.set_unmask(lease.unmask);
  }
  if (response.leases().empty()) {
    std::string reason;
    for (v1::PromptLease& lease : LeaseTraining(request, now, reason)) {
      *response.add_leases() = std::move(lease);
    }
    if (response.leases().empty()) {
      response.set_reason(reason);
      response.set_retry_after_ms(100);
    }
  }
  if (!response.leases().empty()) Changed();
  return response;
}

// A reply that is lost takes its leases with it. Without this they would fill the admission until
// they run out.
void JobRun::ReleaseLost(const std::string& worker_id) {
  const int lost = ledger_.ReleaseWorker(worker_id) + evaluations_.ReleaseWorker(worker_id);
  if (lost == 0) return;
  base::LogWarning("leases that never arrived are free again",
                   {{"job", id_}, {"worker", worker_id}, {"leases", lost}});
  Changed();
}

std::vector<v1::PromptLease> JobRun::LeaseTraining(const v1::LeasePromptsRequest& request,
                                                   absl::Time now, std::string& reason) {
  std::vector<v1::PromptLease> leases;
  if (OnlyEvaluates() || training_finished_) {
    reason = OnlyEvaluates() ? "every question is handed out" : "training has ended";
    return leases;
  }
  const int64_t lag = versions_.newest() - request.version();
  if (lag > spec_.training.max_staleness) {
    reason = absl::StrCat("stale weights: serving version ", request.version(), ", the newest is ",
                          versions_.newest(), ", training.max_staleness is ",
                          spec_.training.max_staleness);
    return leases;
  }
  const int64_t admitted = AdmittedPairs();
  const int64_t left_out = ledger_.counts().left_out;
  for (const TrainLease& lease :
       ledger_.Lease(now, request.worker_id(), request.max_prompts(), admitted)) {
    v1::PromptLease& out = leases.emplace_back();
    out.set_lease_id(lease.lease_id);
    out.set_kind(v1::TRAIN);
    out.set_epoch(lease.key.epoch);
    out.set_prompt_index(lease.key.prompt);
    out.set_prompt_attempt(lease.attempt);
    out.set_prompt_json(prompts_[lease.key.prompt]);
    out.set_version(versions_.newest());
    out.set_expires_in_ms(absl::ToInt64Milliseconds(lease.expires - now));
  }
  if (const int64_t more = ledger_.counts().left_out - left_out; more > 0) {
    events_.Add(now, "prompt",
                absl::StrCat(more, " of ", prompts_.size(),
                             " prompts are left out of this epoch for their pass rate"));
    base::LogInfo("prompts left out for their pass rate",
                  {{"job", id_}, {"left_out", more}, {"prompts", prompts_.size()}});
    Changed();
  }
  if (leases.empty()) {
    reason =
        ledger_.UsedPairs() >= admitted
            ? absl::StrCat("admission: ", ledger_.UsedPairs(), " pairs in flight, stored or ",
                           "consumed; ", admitted, " are admitted at version ", versions_.newest())
            : "every prompt of every epoch is handed out";
  }
  return leases;
}

void JobRun::Report(const v1::ReportPromptsRequest& request, absl::Time now) {
  for (const v1::PromptResult& result : request.results()) {
    if (result.outcome() == v1::PromptResult::FAILED) {
      last_prompt_error_ = result.error();
      base::LogWarning("prompt failed", {{"job", id_},
                                         {"worker", request.worker_id()},
                                         {"prompt", result.prompt_index()},
                                         {"error", result.error()}});
      events_.Warn(now, "prompt",
                   absl::StrCat("prompt ", result.prompt_index(), " failed on ",
                                request.worker_id(), ": ", result.error()));
    }
    if (result.kind() == v1::EVALUATE) {
      const bool counted = evaluations_.Report(result, now);
      const v1::EvaluationRecord* record = evaluations_.Find(result.version());
      if (counted && record->complete()) OnEvaluated(*record, now);
      continue;
    }
    CountTraining(result, now);
    const PromptKey key = {result.epoch(), result.prompt_index()};
    switch (result.outcome()) {
      case v1::PromptResult::STORED:
        ledger_.ReportStored(key, result.prompt_attempt());
        break;
      case v1::PromptResult::NO_PAIR:
        ledger_.ReportNoPair(key, result.prompt_attempt());
        break;
      case v1::PromptResult::FAILED:
        ledger_.ReportFailed(key, result.lease_id());
        break;
      default:  // RETURNED, and words of a later protocol: the lease is free again
        ledger_.ReportReturned(key, result.lease_id());
    }
  }
  Changed();
}

}  // namespace dtrpo::coordinator

// The part of JobRun that deals with the replay store.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/logging.h"
#include "common/job/job_limits.h"
#include "services/coordinator/job_run.h"

namespace dtrpo::coordinator {
namespace {

constexpr double kNearlyFull = 0.8;

// How the table keeps and chooses items. The words were checked with the job.
void SetSampling(const job::ReplaySpec& spec, v1::ReplayJobOptions* options) {
  options->set_durability(spec.durability == "memory" ? v1::MEMORY
                          : spec.durability == "log"  ? v1::LOG
                                                      : v1::SYNC);
  options->set_selector(spec.selector == "uniform"       ? v1::UNIFORM
                        : spec.selector == "prioritised" ? v1::PRIORITISED
                        : spec.selector == "newest"      ? v1::NEWEST
                                                         : v1::FIFO);
  options->set_priority(spec.priority == "learner" ? v1::LEARNER : v1::REWARD_GAP);
  options->set_priority_exponent(spec.priority_exponent);
  options->set_min_items(spec.min_items);
  options->set_samples_per_insert(spec.samples_per_insert);
}

v1::ReplayJobOptions OptionsOf(const job::JobSpec& spec) {
  v1::ReplayJobOptions options;
  options.set_pairs_per_batch(spec.training.pairs_per_batch);
  options.set_publish_every(spec.training.publish_every);
  options.set_max_staleness(spec.training.max_staleness);
  options.set_max_uses(spec.training.max_uses);
  // By default a third more than needed, so that a job that runs as planned never gets nearly full
  // and checkpoints when it said.
  const int64_t required = job::RequiredReplayItems(spec);
  options.set_max_items(spec.replay.max_items > 0 ? spec.replay.max_items
                                                  : required + required / 3);
  options.set_max_bytes(spec.replay.max_bytes);
  options.set_seed(spec.seed);
  options.set_max_pairs_per_prompt(spec.reward.max_pairs_per_prompt);
  options.set_total_steps(spec.training.steps);
  options.set_checkpoint_every(spec.training.checkpoint_every);
  SetSampling(spec.replay, &options);
  options.set_external_pairs_per_batch(static_cast<int32_t>(job::ExternalPairsPerBatch(spec)));
  return options;
}

}  // namespace

ReplayWork JobRun::DesiredReplayWork() const {
  ReplayWork work;
  work.job_id = id_;
  if (OnlyEvaluates()) return work;
  if (final()) {
    // Also a job that never opened: the store then refuses inserts that are still under way.
    work.close = replay_ != ReplayState::kClosed;
    return work;
  }
  if (replay_ == ReplayState::kUnopened) {
    work.open = true;
    work.options = OptionsOf(spec_);
    work.options.set_vocabulary_size(options_.vocabulary_size);
    work.options.set_first_batch(std::max<int64_t>(checkpoints_.newest().step, 0) + 1);
    return work;
  }
  work.newest_version = versions_.newest();
  work.end_of_prompts = PromptsEnded();
  work.end_of_external = ImportEnded();
  work.forget_epochs_below = OldestLiveEpoch();
  work.set_newest = work.newest_version != sent_version_ ||
                    work.end_of_prompts != sent_prompts_ended_ ||
                    work.end_of_external != sent_import_ended_ ||
                    work.forget_epochs_below != sent_forget_epochs_below_;
  work.poll = true;
  work.after_position = event_position_;
  return work;
}

void JobRun::OnReplayOpened(const absl::Status& status, absl::Time now) {
  if (replay_ != ReplayState::kUnopened || final()) return;
  if (status.ok()) {
    replay_ = ReplayState::kOpen;
  } else if (absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status)) {
    job_.Fail(absl::StrCat("the replay store refused the job: ", status.message()));
    End(now);
  }
  // Anything else is asked again.
}

void JobRun::OnNewestSent(const ReplayWork& work) {
  sent_version_ = work.newest_version;
  sent_prompts_ended_ = work.end_of_prompts;
  sent_import_ended_ = work.end_of_external;
  sent_forget_epochs_below_ = work.forget_epochs_below;
}

void JobRun::OnPromptEvents(const absl::StatusOr<v1::PollPromptEventsResponse>& response,
                            absl::Time polled_at, absl::Time now) {
  if (final()) return;
  if (absl::IsNotFound(response.status())) {
    OnReplayLost(now);
    return;
  }
  replay_problem_ = std::string(response.status().message());
  if (!response.ok()) return;  // asked again
  for (const v1::PromptEvent& event : response->events()) {
    if (event.position() <= event_position_) continue;
    event_position_ = event.position();
    if (event.prompt().prompt_index() >= job::kFirstExternalPrompt) {
      OnPairEvent(event);
      continue;
    }
    const PromptKey key = {event.prompt().epoch(), event.prompt().prompt_index()};
    const int32_t attempt = event.prompt().prompt_attempt();
    switch (event.kind()) {
      case v1::PromptEvent::STORED:
        ledger_.OnStored(key, attempt, event.pairs());
        break;
      case v1::PromptEvent::NO_PAIR:
        ledger_.OnNoPair(key, attempt);
        break;
      case v1::PromptEvent::CONSUMED:
        ledger_.OnConsumed(key, attempt, event.pairs());
        break;
      case v1::PromptEvent::EVICTED:
        ledger_.OnEvicted(key, attempt);
        break;
      default:
        base::LogWarning("unknown prompt event",
                         {{"job", id_}, {"kind", static_cast<int>(event.kind())}});
    }
  }
  if (!response->events().empty()) Changed();
  if (training_finished_ && polled_at >= training_finished_at_ &&
      event_position_ >= response->position()) {
    last_events_seen_ = true;
  }
}

// The store was restarted and keeps nothing over a restart. Batches after the checkpoint are gone
// with it, so the learner begins there again, as the next attempt, with batches formed anew.
void JobRun::OnReplayLost(absl::Time now) {
  base::LogError("the replay store lost the job",
                 {{"job", id_}, {"checkpoint_step", checkpoints_.newest().step}});
  if (training_finished_) {
    last_events_seen_ = true;  // there will be none
    return;
  }
  replay_ = ReplayState::kUnopened;
  sent_version_ = -1;
  sent_prompts_ended_ = false;
  sent_import_ended_ = false;
  sent_forget_epochs_below_ = 0;
  event_position_ = 0;
  // Exact where batches take what has waited longest; else some pairs are imported once more.
  const bool in_order = spec_.replay.selector == "fifo" && spec_.training.max_uses == 1;
  if (pairs_.has_value()) {
    pairs_->OnStoreLost(in_order ? std::max<int64_t>(checkpoints_.newest().step, 0) *
                                       job::ExternalPairsPerBatch(spec_)
                                 : 0);
  }
  ledger_.OnStoreLost(std::max<int64_t>(checkpoints_.newest().step, 0) *
                      spec_.training.pairs_per_batch);
  gang_.Disband("the replay store lost the job's batches", now);
  job_.LoseLearner("the replay store lost its data");
  if (final()) End(now);
  Changed();
}

void JobRun::OnReplayStats(const v1::GetReplayStatsResponse& stats) {
  ledger_.OnEvictedPairs(stats.evicted_items());
  const auto full = [](int64_t used, int64_t limit) {
    return limit > 0 && static_cast<double>(used) > kNearlyFull * static_cast<double>(limit);
  };
  checkpoint_wanted_ = stats.checkpoint_wanted() || full(stats.items(), stats.max_items()) ||
                       full(stats.bytes(), stats.max_bytes());
}

}  // namespace dtrpo::coordinator

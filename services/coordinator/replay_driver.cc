#include "services/coordinator/replay_driver.h"

#include <utility>

#include "common/base/logging.h"

namespace dtrpo::coordinator {
namespace {

constexpr absl::Duration kLogInterval = absl::Seconds(10);
constexpr int kMaxPollsPerRound = 20;

}  // namespace

ReplayDriver::ReplayDriver(const Options& options, Coordinator* coordinator,
                           wire::ReplayClient* replay, const CoordinatorMetrics* metrics,
                           base::Clock* clock)
    : options_(options),
      coordinator_(coordinator),
      replay_(replay),
      metrics_(metrics),
      clock_(clock) {}

void ReplayDriver::Run(base::StopSignal& stop) {
  while (!stop.stopped()) {
    Step();
    stop.SleepFor(*clock_, options_.interval);
  }
}

void ReplayDriver::Step() {
  const std::vector<ReplayWork> wanted = coordinator_->DesiredReplayWork();
  // The replay store is told only what a restarted coordinator would tell it, too.
  if (!coordinator_->Durable().ok()) return;
  for (const ReplayWork& work : wanted) Step(work);
  if (clock_->Now() >= next_stats_) next_stats_ = clock_->Now() + options_.stats_interval;
}

void ReplayDriver::Step(const ReplayWork& work) {
  if (work.close) {
    const absl::Status status = replay_->CloseJob(work.job_id, Deadline());
    if (Succeeded(status, "CloseJob", work)) {
      coordinator_->OnReplayClosed(work.job_id);
    }
    return;
  }
  if (work.open) {
    const absl::Status status = replay_->OpenJob(work.job_id, work.options, Deadline());
    Succeeded(status, "OpenJob", work);
    coordinator_->OnReplayOpened(work.job_id, status);
    return;
  }
  if (work.set_newest) {
    const absl::Status status =
        replay_->SetNewestVersion(work.job_id,
                                  {.version = work.newest_version,
                                   .end_of_data = work.end_of_prompts && work.end_of_external,
                                   .end_of_prompts = work.end_of_prompts,
                                   .end_of_external = work.end_of_external,
                                   .forget_epochs_below = work.forget_epochs_below},
                                  Deadline());
    if (Succeeded(status, "SetNewestVersion", work)) {
      coordinator_->OnNewestSent(work);
    }
  }
  if (work.poll) Poll(work);
  if (work.poll && clock_->Now() >= next_stats_) {
    const auto stats = replay_->GetStats(work.job_id, Deadline());
    if (Succeeded(stats.status(), "GetReplayStats", work)) {
      coordinator_->OnReplayStats(work.job_id, *stats);
    }
  }
}

void ReplayDriver::Poll(const ReplayWork& work) {
  int64_t position = work.after_position;
  // More rounds than one only after a long absence; the rest can wait for the next round.
  for (int i = 0; i < kMaxPollsPerRound; ++i) {
    const absl::Time polled_at = clock_->Now();
    const auto response =
        replay_->PollPromptEvents(work.job_id, position, options_.max_events, Deadline());
    Succeeded(response.status(), "PollPromptEvents", work);
    coordinator_->OnPromptEvents(work.job_id, response, polled_at);
    if (!response.ok() || response->events().empty()) return;
    position = response->events().rbegin()->position();
    if (position >= response->position()) return;
  }
}

bool ReplayDriver::Succeeded(const absl::Status& status, const char* call, const ReplayWork& work) {
  if (status.ok()) return true;
  metrics_->replay_failures->Increment();
  if (clock_->Now() >= next_log_) {
    next_log_ = clock_->Now() + kLogInterval;
    base::LogWarning("a call of the replay store failed; it will be made again",
                     {{"job", work.job_id}, {"call", call}, {"status", status}});
  }
  return false;
}

}  // namespace dtrpo::coordinator

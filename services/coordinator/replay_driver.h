// Not thread-safe: one thread calls Step() or Run().
//
// Tells the replay store what the coordinator wants of it, and the coordinator what became of
// prompts. Works from desired state, so a call that fails is simply made again in the next round:
// opening, closing (until the store confirms) and the newest version alike. Holds no lock while it
// waits for the store.
#pragma once

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/stop_signal.h"
#include "common/wire/replay_client.h"
#include "services/coordinator/coordinator.h"

namespace dtrpo::coordinator {

class ReplayDriver {
 public:
  struct Options {
    absl::Duration interval = absl::Milliseconds(100);
    absl::Duration stats_interval = absl::Seconds(1);
    absl::Duration call_timeout = absl::Seconds(2);
    int32_t max_events = 1000;  // per poll
  };
  // All outlive the driver.
  ReplayDriver(const Options& options, Coordinator* coordinator, wire::ReplayClient* replay,
               const CoordinatorMetrics* metrics, base::Clock* clock);

  // One round over all jobs.
  void Step();
  // Rounds until `stop`.
  void Run(base::StopSignal& stop);

 private:
  void Step(const ReplayWork& work);
  void Poll(const ReplayWork& work);
  absl::Time Deadline() { return clock_->Now() + options_.call_timeout; }
  // Counts and, now and then, logs failures.
  bool Succeeded(const absl::Status& status, const char* call, const ReplayWork& work);

  const Options options_;
  Coordinator* const coordinator_;
  wire::ReplayClient* const replay_;
  const CoordinatorMetrics* const metrics_;
  base::Clock* const clock_;
  absl::Time next_stats_ = absl::InfinitePast();
  absl::Time next_log_ = absl::InfinitePast();
};

}  // namespace dtrpo::coordinator

// Who waits for what, on whom, since when: the answer to "why is nothing happening". Thread-safe.
//
//   ScopedWait wait(wait_states, "batch 12", "replay-0");
//   auto batch = client.GetBatch(12, deadline);
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/metrics.h"

namespace dtrpo::base {

struct WaitState {
  std::string what;     // "batch 12", "weights version >= 3"
  std::string on_whom;  // "replay-0"; "" when it is nobody in particular
  absl::Time since;
  std::string thread;  // the waiting thread's name (pthread_setname_np), else the program's
};

class WaitStateRegistry {
 public:
  // Into `metrics`, which outlive the registry, go waits by the role that is waited for:
  //   dtrpo_wait_seconds_total{on}   of waits that have ended
  //   dtrpo_waiting_count{on}        waits that are under way
  explicit WaitStateRegistry(Clock* clock = RealClock(), MetricsRegistry* metrics = NullMetrics());

  // Oldest first.
  std::vector<WaitState> Snapshot() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  friend class ScopedWait;
  uint64_t Begin(std::string what, std::string on_whom) ABSL_LOCKS_EXCLUDED(mutex_);
  void End(uint64_t id) ABSL_LOCKS_EXCLUDED(mutex_);

  struct Totals {
    Counter* seconds;
    Gauge* waiting;
  };
  const Totals& TotalsOf(const std::string& on_whom) const;

  Clock* const clock_;
  std::map<std::string, Totals, std::less<>> totals_;  // by the first word of on_whom
  mutable absl::Mutex mutex_;
  uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, WaitState> waits_ ABSL_GUARDED_BY(mutex_);  // ids grow with time
};

// Registered from construction to destruction. `registry` may be null (nothing is recorded), else
// it outlives the object.
class ScopedWait {
 public:
  ScopedWait(WaitStateRegistry* registry, std::string what, std::string on_whom);
  ~ScopedWait();
  ScopedWait(const ScopedWait&) = delete;
  ScopedWait& operator=(const ScopedWait&) = delete;

 private:
  WaitStateRegistry* const registry_;
  uint64_t id_ = 0;
};

}  // namespace dtrpo::base

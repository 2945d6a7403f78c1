// Tells loops to end, and lets them sleep so that they end at once. Thread-safe. Stops once, for
// ever. The owner (a service host) must outlive the threads that look at it.
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"

namespace dtrpo::base {

class StopSignal {
 public:
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
  }

  bool stopped() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::ReaderMutexLock lock(&mutex_);
    return stopped_;
  }

  // Sleeps until `wakeup` or until Stop(), whichever is first. Returns stopped().
  bool SleepUntil(Clock& clock, absl::Time wakeup) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return clock.AwaitUntil(&mutex_, absl::Condition(&stopped_), wakeup);
  }
  bool SleepFor(Clock& clock, absl::Duration duration) {
    return SleepUntil(clock, clock.Now() + duration);
  }

 private:
  mutable absl::Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace dtrpo::base

// A clock for tests: time moves only when the test says so. Thread-safe.
// Waiting threads notice an advance within about a millisecond of real time.
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"

namespace dtrpo::base {

class SimulatedClock : public Clock {
 public:
  explicit SimulatedClock(absl::Time now = absl::FromUnixSeconds(1'700'000'000)) : now_(now) {}

  absl::Time Now() override ABSL_LOCKS_EXCLUDED(lock_);
  void SleepUntil(absl::Time wakeup) override ABSL_LOCKS_EXCLUDED(lock_);
  bool AwaitUntil(absl::Mutex* mutex, const absl::Condition& condition,
                  absl::Time deadline) override ABSL_LOCKS_EXCLUDED(lock_);

  // Time never goes back. REQUIRES: duration >= 0.
  void Advance(absl::Duration duration) ABSL_LOCKS_EXCLUDED(lock_);

  // Blocks until `count` threads wait on this clock, so that a test knows that the code under test
  // sleeps before it advances. False after `real_timeout`.
  bool WaitForWaiters(int count, absl::Duration real_timeout = absl::Seconds(10))
      ABSL_LOCKS_EXCLUDED(lock_);

 private:
  absl::Mutex lock_;
  absl::Time now_ ABSL_GUARDED_BY(lock_);
  int waiters_ ABSL_GUARDED_BY(lock_) = 0;
};

}  // namespace dtrpo::base

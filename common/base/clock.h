// Time as a dependency, so that a test can replace it. Thread-safe.
// Shape of absl/time/clock_interface.h, which Debian's Abseil lacks. See simulated_clock.h for
// tests.
#pragma once

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace dtrpo::base {

class Clock {
 public:
  virtual ~Clock() = default;

  virtual absl::Time Now() = 0;

  // Blocks until Now() >= wakeup. A wait that must end early on shutdown uses StopSignal instead.
  virtual void SleepUntil(absl::Time wakeup) = 0;
  void SleepFor(absl::Duration duration) { SleepUntil(Now() + duration); }

  // REQUIRES: the caller holds `mutex`. Releases it, blocks until `condition` holds or Now() >=
  // deadline, takes it again, and returns whether `condition` holds. This is the "wait on a
  // condition variable until" of this code base: nobody has to remember to signal.
  virtual bool AwaitUntil(absl::Mutex* mutex, const absl::Condition& condition,
                          absl::Time deadline) = 0;
};

// The wall clock; lives for ever.
Clock* RealClock();

}  // namespace dtrpo::base

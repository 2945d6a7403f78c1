#include "common/base/simulated_clock.h"

#include "common/base/check.h"

namespace dtrpo::base {

absl::Time SimulatedClock::Now() {
  absl::MutexLock lock(&lock_);
  return now_;
}

void SimulatedClock::SleepUntil(absl::Time wakeup) {
  absl::MutexLock lock(&lock_);
  ++waiters_;
  auto reached = [this, wakeup]() ABSL_SHARED_LOCKS_REQUIRED(lock_) { return now_ >= wakeup; };
  lock_.Await(absl::Condition(&reached));
  --waiters_;
}

bool SimulatedClock::AwaitUntil(absl::Mutex* mutex, const absl::Condition& condition,
                                absl::Time deadline) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  {
    absl::MutexLock lock(&lock_);
    ++waiters_;
  }
  // Polls in real time. Waking the caller's mutex from Advance() instead would touch a mutex that
  // the caller may have destroyed meanwhile.
  bool held = condition.Eval();
  while (!held && Now() < deadline) {
    held = mutex->AwaitWithTimeout(condition, absl::Milliseconds(1));
  }
  absl::MutexLock lock(&lock_);
  --waiters_;
  return held;
}

void SimulatedClock::Advance(absl::Duration duration) {
  DTRPO_CHECK(duration >= absl::ZeroDuration()) << duration;
  absl::MutexLock lock(&lock_);
  now_ += duration;
}

bool SimulatedClock::WaitForWaiters(int count, absl::Duration real_timeout) {
  absl::MutexLock lock(&lock_);
  auto reached = [this, count]() ABSL_SHARED_LOCKS_REQUIRED(lock_) { return waiters_ >= count; };
  return lock_.AwaitWithTimeout(absl::Condition(&reached), real_timeout);
}

}  // namespace dtrpo::base

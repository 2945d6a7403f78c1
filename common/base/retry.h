// Bounded exponential back-off with jitter. Backoff is not thread-safe (one per loop); Retry is.
//
// Retried: UNAVAILABLE, DEADLINE_EXCEEDED (of one attempt), and RESOURCE_EXHAUSTED that carries a
// retry-after. Everything else is returned at once. Whatever is retried must be idempotent: the
// reply of an attempt that "failed" may only have been lost.
//
//   auto reply = Retry(options, {.what = "insert into replay-0", .deadline = deadline, .seed =
//   seed},
//                      [&](absl::Time attempt_deadline) { return client.Insert(x,
//                      attempt_deadline); });
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/philox.h"
#include "common/base/status_macros.h"
#include "common/base/stop_signal.h"

namespace dtrpo::base {

struct RetryOptions {
  absl::Duration initial_backoff = absl::Milliseconds(50);
  absl::Duration max_backoff = absl::Seconds(5);
  double multiplier = 2.0;
  double jitter = 0.5;  // a back-off d becomes uniform in [d * (1 - jitter), d]
  absl::Duration attempt_timeout = absl::Seconds(10);  // one attempt; the call's deadline caps it
  int max_attempts = 0;                                // 0: only the deadline limits them
};

bool IsRetryable(const absl::Status& status);

// Successive waits of one retried operation.
class Backoff {
 public:
  Backoff(const RetryOptions& options, uint64_t seed);

  // The wait before the next attempt. A retry-after in `failure` is a lower bound, with jitter
  // added on top so that refused callers don't come back together.
  absl::Duration Next(const absl::Status& failure);
  void Reset() { next_ = options_.initial_backoff; }

 private:
  const RetryOptions options_;
  CounterRng rng_;
  absl::Duration next_;
};

struct RetryCall {
  std::string what;     // for the message of the final error
  absl::Time deadline;  // of all attempts and waits together
  uint64_t seed = 0;    // of the jitter
  Clock* clock = RealClock();
  StopSignal* stop = nullptr;  // ends the waits early; the last failure is returned
};

namespace internal {

inline absl::Status StatusOf(const absl::Status& status) { return status; }
template <typename T>
absl::Status StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

// Sleeps before the next attempt and returns OK; else the final error.
// `told` is the failure that the final error repeats.
absl::Status WaitForNextAttempt(const RetryOptions& options, const RetryCall& call, int attempts,
                                const absl::Status& failure, const absl::Status& told,
                                Backoff& backoff);

}  // namespace internal

// Calls `attempt(attempt_deadline)`, which returns a Status or StatusOr<T>, until it succeeds,
// fails for good, or the deadline is near: a wait that would pass the deadline isn't begun. At
// least one attempt is made. An attempt that only ran out of time doesn't hide what an earlier one
// was told.
template <typename Attempt>
auto Retry(const RetryOptions& options, const RetryCall& call, Attempt&& attempt)
    -> decltype(attempt(absl::Time())) {
  Backoff backoff(options, call.seed);
  absl::Status told;
  for (int attempts = 1;; ++attempts) {
    auto result = attempt(std::min(call.deadline, call.clock->Now() + options.attempt_timeout));
    absl::Status failure = internal::StatusOf(result);
    if (failure.ok()) return result;
    if (told.ok() || !absl::IsDeadlineExceeded(failure)) told = failure;
    absl::Status wait =
        internal::WaitForNextAttempt(options, call, attempts, failure, told, backoff);
    if (!wait.ok()) return wait;
  }
}

}  // namespace dtrpo::base

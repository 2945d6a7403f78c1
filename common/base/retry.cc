#include "common/base/retry.h"

#include <algorithm>
#include <optional>

#include "common/base/retry_after.h"

namespace dtrpo::base {

bool IsRetryable(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return true;
    case absl::StatusCode::kResourceExhausted:
      return GetRetryAfter(status).has_value();
    default:
      return false;
  }
}

Backoff::Backoff(const RetryOptions& options, uint64_t seed)
    : options_(options), rng_(seed, /*stream=*/0), next_(options.initial_backoff) {}

absl::Duration Backoff::Next(const absl::Status& failure) {
  const double keep = 1.0 - options_.jitter * rng_.Uniform01();
  const absl::Duration wait = next_ * keep;
  next_ = std::min(next_ * options_.multiplier, options_.max_backoff);
  std::optional<absl::Duration> retry_after = GetRetryAfter(failure);
  return retry_after ? *retry_after * (2.0 - keep) : wait;
}

namespace internal {

absl::Status WaitForNextAttempt(const RetryOptions& options, const RetryCall& call, int attempts,
                                const absl::Status& failure, const absl::Status& told,
                                Backoff& backoff) {
  if (!IsRetryable(failure)) return failure;
  auto give_up = [&](absl::string_view reason) {
    return Annotate(told, call.what, " (", attempts, " attempts, ", reason, ")");
  };
  if (options.max_attempts > 0 && attempts >= options.max_attempts) {
    return give_up("attempts used up");
  }
  const absl::Time wakeup = call.clock->Now() + backoff.Next(failure);
  if (wakeup >= call.deadline) return give_up("deadline reached");
  if (call.stop == nullptr) {
    call.clock->SleepUntil(wakeup);
  } else if (call.stop->SleepUntil(*call.clock, wakeup)) {
    return give_up("stopping");
  }
  return absl::OkStatus();
}

}  // namespace internal
}  // namespace dtrpo::base

// Deadlines are plain absl::Time; these are the few things done with them. Thread-safe: no state.
#pragma once

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/clock.h"

namespace dtrpo::base {

inline absl::Time DeadlineAfter(Clock& clock, absl::Duration timeout) {
  return clock.Now() + timeout;
}

// Never negative, so it can be handed to APIs that take a timeout.
inline absl::Duration Remaining(Clock& clock, absl::Time deadline) {
  return std::max(deadline - clock.Now(), absl::ZeroDuration());
}

// OK before the deadline, else DEADLINE_EXCEEDED naming `what`.
inline absl::Status CheckDeadline(Clock& clock, absl::Time deadline, absl::string_view what) {
  absl::Time now = clock.Now();
  if (now < deadline) return absl::OkStatus();
  return absl::DeadlineExceededError(
      absl::StrCat("deadline passed ", absl::FormatDuration(now - deadline), " ago: ", what));
}

}  // namespace dtrpo::base

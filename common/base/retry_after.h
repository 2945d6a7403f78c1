// Back-pressure as data: a status may carry how long to wait and a reason that a program can test.
// Thread-safe: no state. common/rpc carries both over the wire.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace dtrpo::base {

// Attaches a retry-after (kept in whole milliseconds, rounded up). REQUIRES: !status.ok().
void SetRetryAfter(absl::Status& status, absl::Duration retry_after);
// The attached duration; nullopt when there is none or it can't be read.
std::optional<absl::Duration> GetRetryAfter(const absl::Status& status);

// A short stable token such as "TABLE_FULL" or "STALE_ATTEMPT"; programs test it, never the
// message.
void SetReason(absl::Status& status, absl::string_view reason);
// Empty when none is attached.
std::string GetReason(const absl::Status& status);

// RESOURCE_EXHAUSTED with both: what a full queue, table or admission limit answers.
absl::Status BackPressureError(absl::string_view message, absl::string_view reason,
                               absl::Duration retry_after);

}  // namespace dtrpo::base

#include "common/base/retry_after.h"

#include <cstdint>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace dtrpo::base {
namespace {

constexpr absl::string_view kRetryAfterUrl = "dtrpo/retry_after_ms";
constexpr absl::string_view kReasonUrl = "dtrpo/reason";

}  // namespace

void SetRetryAfter(absl::Status& status, absl::Duration retry_after) {
  DTRPO_CHECK(!status.ok()) << "an OK status carries no retry-after";
  int64_t ms = absl::ToInt64Milliseconds(absl::Ceil(retry_after, absl::Milliseconds(1)));
  status.SetPayload(kRetryAfterUrl, absl::Cord(absl::StrCat(ms)));
}

std::optional<absl::Duration> GetRetryAfter(const absl::Status& status) {
  absl::optional<absl::Cord> payload = status.GetPayload(kRetryAfterUrl);
  int64_t ms = 0;
  if (!payload || !absl::SimpleAtoi(std::string(*payload), &ms) || ms < 0) return std::nullopt;
  return absl::Milliseconds(ms);
}

void SetReason(absl::Status& status, absl::string_view reason) {
  DTRPO_CHECK(!status.ok()) << "an OK status carries no reason";
  status.SetPayload(kReasonUrl, absl::Cord(reason));
}

std::string GetReason(const absl::Status& status) {
  absl::optional<absl::Cord> payload = status.GetPayload(kReasonUrl);
  return payload ? std::string(*payload) : std::string();
}

absl::Status BackPressureError(absl::string_view message, absl::string_view reason,
                               absl::Duration retry_after) {
  absl::Status status = absl::ResourceExhaustedError(message);
  SetReason(status, reason);
  SetRetryAfter(status, retry_after);
  return status;
}

}  // namespace dtrpo::base

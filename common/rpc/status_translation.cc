#include "common/rpc/status_translation.h"

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/retry_after.h"
#include "proto/dtrpo/v1/common.pb.h"

namespace dtrpo::rpc {
namespace {

// A status travels in HTTP/2 trailers, of which gRPC takes 8 KiB; three bytes there for one that
// isn't ASCII.
constexpr size_t kMaxMessageBytes = 2000;

std::string Shortened(absl::string_view message) {
  if (message.size() <= kMaxMessageBytes) return std::string(message);
  return absl::StrCat(message.substr(0, kMaxMessageBytes), "... (", message.size(),
                      " bytes in all)");
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  v1::ErrorDetail detail;
  detail.set_reason(base::GetReason(status));
  if (std::optional<absl::Duration> retry_after = base::GetRetryAfter(status)) {
    detail.set_retry_after_ms(absl::ToInt64Milliseconds(*retry_after));
  }
  // Tells ours from the RESOURCE_EXHAUSTED of gRPC's own thread pool; see server_interceptors.cc.
  if (status.code() == absl::StatusCode::kResourceExhausted && detail.reason().empty()) {
    detail.set_reason("resource_exhausted");
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), Shortened(status.message()),
                      detail.SerializeAsString());
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const int code = status.error_code();
  const bool known = code > 0 && code <= static_cast<int>(absl::StatusCode::kUnauthenticated);
  absl::Status result(known ? static_cast<absl::StatusCode>(code) : absl::StatusCode::kUnknown,
                      status.error_message());
  v1::ErrorDetail detail;
  if (!status.error_details().empty() && detail.ParseFromString(status.error_details())) {
    if (!detail.reason().empty()) base::SetReason(result, detail.reason());
    if (detail.retry_after_ms() > 0) {
      base::SetRetryAfter(result, absl::Milliseconds(detail.retry_after_ms()));
    }
  }
  return result;
}

}  // namespace dtrpo::rpc

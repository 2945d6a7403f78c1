// Thread safety: pure functions but for the connection, which is made and closed within the call.
//
// What a Prometheus server does to us: one plain GET, and the lines of the answer.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace dtrpo::support {

// The body of http://127.0.0.1-address/path; an error for any status but 200, and after 5 s.
absl::StatusOr<std::string> HttpGet(const std::string& host_port, const std::string& path);

// Sum over the labels of a metric in Prometheus' text format; NOT_FOUND when no line has it.
absl::StatusOr<double> MetricValue(absl::string_view body, absl::string_view name);

}  // namespace dtrpo::support

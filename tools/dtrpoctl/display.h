// Thread safety: pure functions. How statuses look to a person, and to a script (JSON).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "google/protobuf/message.h"
#include "proto/dtrpo/v1/coordinator.pb.h"

namespace dtrpo::ctl {

const char* StateWord(v1::JobState state);  // "RUNNING", "CANCELLED", ...

// "add-1  RUNNING  step 12/120  reward 0.534  held-out 0.502 -> 0.610  1234 tokens/s  version 12
// 1m20s left"
std::string ProgressLine(const v1::JobStatus& status);

// Several lines, "key: value".
std::string Details(const v1::JobStatus& status);

// What a dry run found, as comments of YAML: notes, and what the job takes.
std::string SizeLines(const v1::SubmitJobResponse& checked);

// One line each under a header.
std::string JobTable(const v1::ListJobsResponse& jobs);
std::string WorkerTable(const v1::ListWorkersResponse& workers, int64_t now_unix_ms);

// Columns as wide as their widest cell; a line each.
using Row = std::vector<std::string>;
std::string Table(const std::vector<Row>& rows);

// proto3 JSON on one line: names of the .proto, zeros printed.
std::string Json(const google::protobuf::Message& message);

}  // namespace dtrpo::ctl

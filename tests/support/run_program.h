// Thread safety: pure functions but for starting a process.
//
// Runs one of our programs to its end, as a user's shell would.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace dtrpo::support {

struct ProgramResult {
  int exit_code = 0;   // 128 + signal when a signal ended it
  std::string output;  // standard output and standard error, as they came
};

// DEADLINE_EXCEEDED, with the output so far, for a program that had to be killed at `timeout`.
// `log_path` receives the output and is truncated first.
absl::StatusOr<ProgramResult> RunProgram(const std::vector<std::string>& arguments,
                                         const std::string& log_path,
                                         absl::Duration timeout = absl::Seconds(30));

}  // namespace dtrpo::support

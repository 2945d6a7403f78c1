// What a coordinator's log holds, format 1: each operation that changed something, with the time it
// was given and what it led to. Jobs are functions of these, so a restart carries them out again.
// Thread-safe: no state.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace dtrpo::coordinator {

// Numbers are on disk: never change one.
enum class OperationKind : uint8_t {
  kSubmitJob = 1,
  kCancelJob = 2,
  kPauseJob = 3,
  kResumeJob = 4,
  kRegisterWorker = 5,
  kLoseWorker = 6,  // text: why
  kLeasePrompts = 7,
  kReportPrompts = 8,
  kRegisterVersion = 9,
  kReportStep = 10,
  kRegisterCheckpoint = 11,
  kReportPairs = 12,
  kFinishTraining = 13,
  kTick = 14,
  kReplayOpened = 15,  // number: status code, text: its message
  kReplayClosed = 16,
  kPromptEvents = 17,  // number: status code, number2: polled at, Unix nanoseconds
  kReplayStats = 18,
  kRestore = 19,  // leases get a full new term; text: why, empty when it was started again
  kRollBackJob = 20,
  kResultsWritten = 21,  // number: status code, text: its message
};

struct LoggedOperation {
  OperationKind kind = OperationKind::kTick;
  absl::Time time;
  uint64_t digest = 0;  // of all jobs afterwards: the same operations must lead to the same jobs
  std::string name;     // of the job, or the worker
  std::string message;  // the request, serialised
  std::string text = {};
  int64_t number = 0;
  int64_t number2 = 0;
  // Evaluations that were given up on the way: that depends on heartbeats, which aren't logged.
  std::vector<int64_t> given_up = {};
};

std::string EncodeOperation(const LoggedOperation& operation);
// DATA_LOSS for anything that EncodeOperation didn't make.
absl::StatusOr<LoggedOperation> DecodeOperation(absl::string_view bytes);

}  // namespace dtrpo::coordinator

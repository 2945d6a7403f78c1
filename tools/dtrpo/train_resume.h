// Thread safety: pure functions but for the disk.
//
// `dtrpo train` that was interrupted goes on from its newest checkpoint when the same command is
// given again. While it trains, the folder of --output holds the optimizer's state and a
// training_state.json; a finished one doesn't, and is replaced by the next training.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/file_system.h"
#include "common/job/job_spec.h"

namespace dtrpo::tools {

inline constexpr char kTrainJobId[] = "dtrpo train";

// Of everything that decides what comes out: the job with all its options, and the pairs.
absl::StatusOr<std::string> TrainingHash(const job::JobSpec& job,
                                         const std::string& pairs_fingerprint);

// A kill between the two renames that replace the folder leaves it beside its place: moves it back.
absl::Status RecoverOutput(base::FileSystem* files, const std::string& output);

// The step that an interrupted training in `output` came to; 0: there is none, or `restart` says
// to forget it. FAILED_PRECONDITION when it is one of another hash.
absl::StatusOr<int64_t> StepToResume(base::FileSystem* files, const std::string& output,
                                     const std::string& hash, bool restart);

}  // namespace dtrpo::tools

// Thread safety: pure functions but for the disk, which is passed in.
//
// Files that a job names as its data; where they may lie: common/job/job_paths.h.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/base/file_system.h"

namespace dtrpo::coordinator {

// A file of preference pairs is read by the learner, line by line; here it only has to be a file
// with something in it. NOT_FOUND, INVALID_ARGUMENT.
absl::Status CheckPairFile(base::FileSystem* files, const std::string& path);

}  // namespace dtrpo::coordinator

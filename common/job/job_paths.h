// Thread-safe: pure functions, but for the links on disk.
//
// Which files and folders a job may name: with roots configured, those below one of them, once
// "..",
// "." and symbolic links are resolved, as far as the path exists. The coordinator asks at submit,
// and each worker before it opens anything, each on its own disk. What is checked is opened later:
// who may put links into a root while jobs run can still lead a worker elsewhere
// (docs/security.md).
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/job/job_spec.h"

namespace dtrpo::job {

// OK for an empty path, and without roots. PERMISSION_DENIED names path and roots.
absl::Status CheckPathIsBelow(const std::string& path, const std::vector<std::string>& roots);

// Of all paths of the job; the error names the field, "data.pairs: ...".
absl::Status CheckJobPaths(const JobSpec& spec, const std::vector<std::string>& roots);

}  // namespace dtrpo::job

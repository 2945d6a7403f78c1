// Thread-safe: a pure function, but for the links on disk.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/job/job_spec.h"
#include "proto/dtrpo/v1/coordinator.pb.h"

namespace dtrpo::wire {

// The job that a worker is to work on. PERMISSION_DENIED when it, or the checkpoint to go on from,
// names a path outside of the worker's own `data_roots` (none: anywhere; see job_paths.h): the
// coordinator looks at the paths, too, but on its own disk.
absl::StatusOr<job::JobSpec> AssignedJob(const v1::Assignment& assignment,
                                         const std::vector<std::string>& data_roots);

}  // namespace dtrpo::wire

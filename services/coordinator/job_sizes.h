// Thread safety: a pure function but for the disk, which is passed in.
//
// What a job will take of memory, network, disk and replay store, before it runs. Sums of the
// checkpoint's own tensors; docs/scaling.md has them with activations for one model in full.
#pragma once

#include "absl/status/statusor.h"
#include "common/base/file_system.h"
#include "common/job/job_spec.h"
#include "proto/dtrpo/v1/coordinator.pb.h"

namespace dtrpo::coordinator {

// Reads the headers of the tensors of model.path; INVALID_ARGUMENT names what is wrong with them,
// or the pattern of training.trainable that no tensor matches.
absl::StatusOr<v1::JobSizes> SizesOf(const job::JobSpec& spec, base::FileSystem* files);

}  // namespace dtrpo::coordinator

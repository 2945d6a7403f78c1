// Thread safety: pure function.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/weights/image.h"

namespace dtrpo::rollout {

// Version 0 of a job: the weights of its base checkpoint as the learner holds them, bit for bit, so
// that every later version has the same tensors in the same places. `dtype` is the job's word
// (model/compute_dtype.h). INVALID_ARGUMENT names what is wrong with the checkpoint.
absl::StatusOr<std::shared_ptr<const weights::Image>> BaseImage(
    const checkpoint::CheckpointFolder& folder, const std::string& job_id, absl::string_view dtype);

}  // namespace dtrpo::rollout

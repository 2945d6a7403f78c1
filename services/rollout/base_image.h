// Thread safety: pure function.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/weights/image.h"

namespace dtrpo::rollout {

// Version 0 of a job: the weights of its base checkpoint as the learner holds them, so that every
// later version has the same tensors in the same places. INVALID_ARGUMENT names what is wrong with
// the checkpoint.
absl::StatusOr<std::shared_ptr<const weights::Image>> BaseImage(
    const checkpoint::CheckpointFolder& folder, const std::string& job_id);

}  // namespace dtrpo::rollout

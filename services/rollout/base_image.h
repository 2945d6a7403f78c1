// Thread safety: pure function.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/weights/image.h"

namespace dtrpo::rollout {

// Version 0 of a job: the tensors of its base checkpoint, in the checkpoint's own types.
// UNIMPLEMENTED naming the tensor whose type can't be served.
absl::StatusOr<std::shared_ptr<const weights::Image>> BaseImage(
    const checkpoint::CheckpointFolder& folder, const std::string& job_id);

}  // namespace dtrpo::rollout

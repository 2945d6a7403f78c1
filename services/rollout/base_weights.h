// Thread safety: pure functions.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/job/job_spec.h"
#include "common/model/trained_parts.h"
#include "common/model/transformer.h"
#include "common/weights/image.h"

namespace dtrpo::rollout {

// What a job begins with.
struct BaseWeights {
  // Version 0 as the learner holds it, bit for bit, so that every later version has the same
  // tensors in the same places: all of the checkpoint's, or those that the job trains.
  std::shared_ptr<const weights::Image> image;
  // What a version is completed with, on the CPU views of the mapped checkpoint; null: it is
  // complete.
  std::shared_ptr<const model::Transformer> model;
  double adapter_scale = 0;
};

// What of the model a job trains.
model::TrainedParts TrainedPartsOf(const job::JobSpec& spec);

// `dtype` is the job's word (model/compute_dtype.h), `device` that of BaseWeights::model.
// INVALID_ARGUMENT names what is wrong with the checkpoint, or the pattern or target that matches
// nothing.
absl::StatusOr<BaseWeights> LoadBase(const checkpoint::CheckpointFolder& folder,
                                     const std::string& job_id, absl::string_view dtype,
                                     const model::TrainedParts& parts = {},
                                     const torch::Device& device = torch::kCPU);

}  // namespace dtrpo::rollout

// Thread safety: pure functions over tensors that nobody changes meanwhile.
//
// From a model's parameters to a weights version.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/model/transformer.h"
#include "common/training/trained_model.h"
#include "common/weights/image.h"

namespace dtrpo::training {

// Copies the model's parameters once, into a new immutable image.
absl::StatusOr<std::shared_ptr<const weights::Image>> MakeImage(const model::Transformer& model,
                                                                const std::string& job_id,
                                                                int64_t version,
                                                                int64_t generation);

// The version of a training: the tensors that are trained, and the checksum of what they belong to
// when that isn't all of the model.
absl::StatusOr<std::shared_ptr<const weights::Image>> MakeImage(const TrainedModel& trained,
                                                                const std::string& job_id,
                                                                int64_t version,
                                                                int64_t generation);

}  // namespace dtrpo::training

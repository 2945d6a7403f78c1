// Thread safety: pure functions.
//
// What weights are kept and computed in. Every process of a job decides from the same word and the
// same folder, so policy, reference and learner agree without asking each other.
#pragma once

#include <torch/types.h>

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/checkpoint/checkpoint_folder.h"

namespace dtrpo::model {

// The words of an option: "auto", "float32", "bfloat16".
inline constexpr absl::string_view kAutoDtype = "auto";

struct ComputeDtype {
  torch::Dtype dtype = torch::kFloat32;
  std::string why;     // for logs: "the tensors are bfloat16"
  bool native = true;  // false: auto had to take another dtype than the checkpoint's
};

// auto (also the empty word): the checkpoint's own dtype where that is float32 or bfloat16. What
// isn't computed in, float16 and mixtures, becomes float32, which holds each value of them exactly;
// float64 becomes float32, too. A folder opened without tensors is judged by its config.json.
// INVALID_ARGUMENT for another word.
absl::StatusOr<ComputeDtype> ChooseDtype(absl::string_view word,
                                         const checkpoint::CheckpointFolder& folder);

// "float32", "bfloat16", "float16", "float64": the words of config.json and PyTorch.
// REQUIRES: one of the four.
absl::string_view DtypeName(torch::Dtype dtype);

}  // namespace dtrpo::model

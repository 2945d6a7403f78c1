// Thread safety: pure functions.
//
// What of a model a job trains: all of it, the tensors whose names match patterns, or adapters
// beside frozen weights. Learner and rollouts each decide from the same job and the same folder
// which tensors those are and what they begin with, so that a version needs to hold nothing else.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/model/lora.h"
#include "common/model/transformer.h"

namespace dtrpo::model {

struct TrainedParts {
  std::vector<std::string> patterns = {};  // as fnmatch: * also matches dots
  LoraOptions lora = {};                   // with a rank: adapters instead
  uint64_t seed = 1;                       // of the adapters

  bool all() const { return patterns.empty() && lora.rank == 0; }
};

// "all tensors", "tensors *.mlp.*, *.o_proj.weight", "LoRA rank 8, alpha 16, targets q_proj".
std::string Describe(const TrainedParts& parts);

// The tensors that are trained, in checkpoint order: the model's own, or adapters as they begin, in
// float32. INVALID_ARGUMENT naming the pattern or target that matches nothing, and some names.
absl::StatusOr<NamedTensors> TrainedTensors(const Transformer& model, const TrainedParts& parts);

// sha256, hex, of the names, types, shapes and bytes of all tensors of the model but `trained`:
// whoever adds the same trained tensors to the same rest computes the same. Reads them all once.
std::string FrozenChecksum(const Transformer& model, const NamedTensors& trained);

}  // namespace dtrpo::model

// Thread safety: free functions over a const model; safe from many threads.
//
// Scores the planned states of trajectories in one forward over the rows of remask.h.
#pragma once

#include <torch/types.h>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/dtrpo/remask.h"
#include "common/model/transformer.h"
#include "common/trajectory/mask_plan.h"

namespace dtrpo::objective {

// Log-probabilities of each input's targets in plan order, concatenated: [sum of target counts],
// natural log, untempered, mask id excluded. Differentiable when the model's parameters are and
// grad mode is on. `boundary` is the one the plans were made with.
// INVALID_ARGUMENT for plans that don't fit, UNIMPLEMENTED for bidirectional families, INTERNAL for
// what LibTorch throws.
absl::StatusOr<torch::Tensor> ScoreTargets(const model::Transformer& model,
                                           absl::Span<const ScoreInput> inputs,
                                           trajectory::Boundary boundary);

}  // namespace dtrpo::objective

// Thread safety: free functions over a const model; safe from many threads.
//
// Scores the planned states of trajectories: in one forward over the rows of remask.h where
// attention is block-causal, in a forward over the whole sequences of whole_states.h for
// bidirectional models (in several when there are many rows: states don't see each other).
#pragma once

#include <torch/types.h>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/dtrpo/score_input.h"
#include "common/model/transformer.h"
#include "common/trajectory/mask_plan.h"

namespace dtrpo::objective {

// Log-probabilities of each input's targets in plan order, concatenated: [sum of target counts],
// natural log, untempered, mask id excluded. Differentiable when the model's parameters are and
// grad mode is on. `boundary` is the one the plans were made with; bidirectional models have no
// block-first tokens, so there it says nothing.
// INVALID_ARGUMENT for plans that don't fit, INTERNAL for what LibTorch throws.
absl::StatusOr<torch::Tensor> ScoreTargets(const model::Transformer& model,
                                           absl::Span<const ScoreInput> inputs,
                                           trajectory::Boundary boundary);

}  // namespace dtrpo::objective

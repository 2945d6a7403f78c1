// Thread safety: free functions over a const model; safe from many threads.
//
// Scores planned states of trajectories in one forward: rows = [prompt and clean response blocks ; re-masked blocks], each
// re-masked block attending to the clean blocks before it and to itself. The last clean block is a key for no row and is
// left out (unless a block-first token needs its row: it never does). dTRPO (arXiv 2603.18806) over the compact layout.
#pragma once

#include <torch/torch.h>

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/model/transformer.h"
#include "common/trajectory/mask_plan.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::objective {

struct ScoreInput {
  const trajectory::Trajectory* trajectory = nullptr;
  const trajectory::MaskPlan* plan = nullptr;
};

// Log-probabilities of each input's targets in plan order, concatenated: a float tensor [sum of target counts], natural
// log, untempered, mask id excluded. Differentiable when the model's parameters are and grad mode is on.
// INVALID_ARGUMENT for plans that don't fit, INTERNAL for what LibTorch throws.
absl::StatusOr<torch::Tensor> ScoreTargets(const model::Transformer& model, absl::Span<const ScoreInput> inputs,
                                           trajectory::Boundary boundary);

}  // namespace dtrpo::objective

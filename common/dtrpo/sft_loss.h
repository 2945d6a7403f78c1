// Thread safety: free functions.
//
// Supervised fine-tuning in the same rows as the preference score: a noised answer is written down
// as a trajectory of one step per block, and its loss is minus the mean log-probability of the
// targets that remask.h lays out. Rule (ours, after Fast-dLLM-v2's training forward):
//   * per block t ~ U(0,1); each token but the block-first one is masked with probability t, and is
//     predicted from the re-masked block (row i-1 with token shift);
//   * with token shift, block-first tokens stay visible and are predicted from the clean row before
//     (or, with Boundary::kNoisy, from the re-masked one, as the released training does);
//   * MASK fills the last block after the answer; those positions are context without a target;
//   * bidirectional models: the whole answer is one block, masked with one t, as in LLaDA's SFT.
// No 1/t weight.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/checkpoint/model_descriptor.h"
#include "common/model/transformer.h"
#include "common/trajectory/mask_plan.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::objective {

struct SftExample {
  std::vector<int32_t> prompt_tokens;  // not empty
  std::vector<int32_t> answer_tokens;  // not empty; with the stop token
};

struct NoisedExample {
  trajectory::Trajectory trajectory;
  trajectory::MaskPlan plan;
};

// The noise is a pure function of (seed, stream): give every use of an example its own stream.
// REQUIRES: descriptor.block_size >= 1, unless the model is bidirectional.
NoisedExample NoiseExample(const SftExample& example, const checkpoint::ModelDescriptor& descriptor,
                           uint64_t seed, uint64_t stream);

// Mean cross-entropy over all targets of the batch, a scalar. INVALID_ARGUMENT when the noise left
// the whole batch without a target.
absl::StatusOr<torch::Tensor> SftLoss(const model::Transformer& model,
                                      absl::Span<const NoisedExample> examples,
                                      trajectory::Boundary boundary = trajectory::Boundary::kClean);

}  // namespace dtrpo::objective

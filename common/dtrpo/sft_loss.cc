#include "common/dtrpo/sft_loss.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/philox.h"
#include "common/base/status_macros.h"
#include "common/dtrpo/trajectory_scorer.h"
#include "common/model/torch_boundary.h"
#include "common/trajectory/block_layout.h"

namespace dtrpo::objective {
namespace {

using trajectory::BlockPlan;
using trajectory::ResponseBlock;
using trajectory::Trajectory;

// The two steps of the written-down trajectory: what stays visible was "unmasked" before the state
// that is scored, the rest in it.
constexpr int32_t kVisibleStep = 1;
constexpr int32_t kMaskedStep = 2;

}  // namespace

NoisedExample NoiseExample(const SftExample& example, const checkpoint::ModelDescriptor& descriptor,
                           uint64_t seed, uint64_t stream) {
  DTRPO_CHECK(!example.prompt_tokens.empty() && !example.answer_tokens.empty());
  const int64_t answer = static_cast<int64_t>(example.answer_tokens.size());
  NoisedExample noised;
  Trajectory& t = noised.trajectory;
  t.id = absl::StrCat("sft/", stream);
  t.external = true;
  t.prompt_tokens = example.prompt_tokens;
  const bool bidirectional = descriptor.attention == checkpoint::Attention::kBidirectional;
  t.block_size = bidirectional ? static_cast<int32_t>(answer) : descriptor.block_size;
  t.block_origin =
      bidirectional ? trajectory::BlockOrigin::kResponse : trajectory::BlockOrigin::kAbsolute;
  t.sampler.max_new_tokens = static_cast<int32_t>(answer);
  t.response_tokens = example.answer_tokens;
  t.response_tokens.resize(trajectory::CanvasTokens(static_cast<int64_t>(t.prompt_tokens.size()),
                                                    answer, t.block_size, t.block_origin),
                           descriptor.mask_id);
  t.unmask_step.assign(t.response_tokens.size(), trajectory::kNeverCommitted);

  base::CounterRng rng(seed, stream);
  for (const ResponseBlock& block : ResponseBlocks(t)) {
    BlockPlan plan;
    plan.block = block;
    const double mask_probability = rng.Uniform01();
    trajectory::ScoredState state;
    state.block = static_cast<int64_t>(noised.plan.blocks.size());
    state.step = kMaskedStep;
    for (int64_t i = block.begin; i < std::min(block.end, answer); ++i) {
      if (descriptor.logit_shift == 1 && !bidirectional && block.starts_in_response &&
          i == block.begin) {
        t.unmask_step[i] = trajectory::kBlockFirstStep;
        plan.first_token = i;
      } else if (rng.Uniform01() < mask_probability) {
        t.unmask_step[i] = kMaskedStep;
        state.targets.push_back(i);
        state.masked.push_back(i);
      } else {
        t.unmask_step[i] = kVisibleStep;
      }
    }
    for (int64_t i = std::max(block.begin, answer); i < block.end; ++i) state.masked.push_back(i);
    noised.plan.target_count +=
        static_cast<int64_t>(state.targets.size()) + (plan.first_token >= 0 ? 1 : 0);
    if (!state.targets.empty()) {
      plan.steps = 1;
      plan.target_tokens = static_cast<int64_t>(state.targets.size());
      plan.states.push_back(std::move(state));
    }
    noised.plan.blocks.push_back(std::move(plan));
  }
  return noised;
}

absl::StatusOr<torch::Tensor> SftLoss(const model::Transformer& model,
                                      absl::Span<const NoisedExample> examples,
                                      trajectory::Boundary boundary) {
  std::vector<ScoreInput> inputs;
  for (const NoisedExample& example : examples) {
    inputs.push_back({&example.trajectory, &example.plan});
  }
  DTRPO_ASSIGN_OR_RETURN(const torch::Tensor scores, ScoreTargets(model, inputs, boundary));
  if (scores.numel() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("the noise masked no token of ", examples.size(), " examples"));
  }
  return model::TorchBoundary([&] { return -scores.mean(); });
}

}  // namespace dtrpo::objective

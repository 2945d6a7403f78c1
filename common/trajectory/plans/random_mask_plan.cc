// Random-mask DPO: one random mask a block (K: as many, averaged), every masked token weighed
// alike, no 1/t: what released fine-tuning of masked diffusion models scores (Fast-dLLM-v2's plain
// cross-entropy over the masked tokens). R is a sum over the masked tokens; `weighting: mean` with
// length normalisation makes a mean of it.
#include "common/trajectory/plans/mask_draws.h"
#include "common/trajectory/plans/plan_rules.h"

namespace dtrpo::trajectory {

void AddRandomMasks(const PlanRequest& request, MaskPlan* plan) {
  const int32_t draws = request.options.draws;
  for (size_t b = 0; b < plan->blocks.size(); ++b) {
    BlockPlan& block = plan->blocks[b];
    if (block.target_tokens == 0) continue;
    for (int32_t k = 0; k < draws; ++k) {
      ScoredState state = DrawMasks(request, *plan, static_cast<int64_t>(b), k).first;
      state.weight = 1.0 / draws;
      block.states.push_back(std::move(state));
    }
  }
}

}  // namespace dtrpo::trajectory

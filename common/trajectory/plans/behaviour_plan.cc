// One state of each block as it was sampled, beside random masks: the same draw that dTRPO with
// K = 1 makes. Where the plan's block is a whole response, one of all its states.
#include "common/trajectory/plans/plan_rules.h"
#include "common/trajectory/plans/step_draws.h"

namespace dtrpo::trajectory {

void AddBehaviourStates(const PlanRequest& request, MaskPlan* plan) {
  if (request.t.external) return;
  MaskPlanOptions options = request.options;
  options.kind = PlanKind::kDtrpo;
  options.draws = 1;
  options.draw_from =
      request.t.block_origin == BlockOrigin::kAbsolute ? DrawFrom::kBlock : DrawFrom::kSequence;
  const MaskPlan sampled = MakeMaskPlan(request.t, options, request.use_index);
  for (size_t b = 0; b < sampled.blocks.size(); ++b) {
    const size_t into = plan->blocks.size() == sampled.blocks.size() ? b : 0;
    for (ScoredState state : sampled.blocks[b].states) {
      state.block = static_cast<int64_t>(into);
      state.weight = 0;
      plan->blocks[into].states.push_back(std::move(state));
    }
  }
}

}  // namespace dtrpo::trajectory

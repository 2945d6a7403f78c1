// Exact trajectory DPO: every step that an answer was sampled in, each once. R is the trajectory's
// log-ratio.
#include "common/trajectory/plans/plan_rules.h"
#include "common/trajectory/plans/step_draws.h"

namespace dtrpo::trajectory {

void AddEveryStep(const PlanRequest& request, MaskPlan* plan) {
  for (size_t b = 0; b < plan->blocks.size(); ++b) {
    BlockPlan& block = plan->blocks[b];
    for (const int32_t step : TargetSteps(request.t, block.block)) {
      block.states.push_back(StateOfStep(request.t, block.block, static_cast<int64_t>(b), step));
    }
  }
}

}  // namespace dtrpo::trajectory

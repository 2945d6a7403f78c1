// dTRPO (arXiv 2603.18806): K of the steps that an answer was sampled in. A state weighs as many
// times as the steps it stands for, so that R is an unbiased estimate of the trajectory's
// log-ratio.
#include <utility>

#include "common/trajectory/plans/plan_rules.h"
#include "common/trajectory/plans/step_draws.h"

namespace dtrpo::trajectory {

namespace {

void DrawFromBlocks(const PlanRequest& request, MaskPlan* plan) {
  for (size_t b = 0; b < plan->blocks.size(); ++b) {
    BlockPlan& block = plan->blocks[b];
    const int64_t index = static_cast<int64_t>(b);
    const std::vector<int32_t> steps = TargetSteps(request.t, block.block);
    for (const int32_t position :
         DrawStepPositions(request.options.job_seed, request.t.id, request.use_index, index,
                           block.steps, request.options.draws)) {
      block.states.push_back(StateOfStep(request.t, block.block, index, steps[position]));
    }
  }
}

void DrawFromSequence(const PlanRequest& request, MaskPlan* plan) {
  std::vector<std::pair<int64_t, int32_t>> all;  // block, step
  for (size_t b = 0; b < plan->blocks.size(); ++b) {
    for (const int32_t step : TargetSteps(request.t, plan->blocks[b].block)) {
      all.emplace_back(static_cast<int64_t>(b), step);
    }
  }
  for (const int32_t position :
       DrawStatePositions(request.options.job_seed, request.t.id, request.use_index,
                          static_cast<int32_t>(all.size()), request.options.draws)) {
    const auto [index, step] = all[position];
    BlockPlan& block = plan->blocks[index];
    block.states.push_back(StateOfStep(request.t, block.block, index, step));
  }
}

}  // namespace

void AddDrawnSteps(const PlanRequest& request, MaskPlan* plan) {
  if (request.options.draw_from == DrawFrom::kBlock) {
    DrawFromBlocks(request, plan);
  } else {
    DrawFromSequence(request, plan);
  }
  WeighDrawnSteps(plan);
}

}  // namespace dtrpo::trajectory

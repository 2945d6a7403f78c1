// Thread safety: pure functions.
//
// The one interface of the objectives' plans: each rule adds the states it scores to the blocks of
// a plan that has everything else but target_count. One file a rule, named at its declaration.
#pragma once

#include "common/trajectory/mask_plan.h"

namespace dtrpo::trajectory {

// Borrowed for the length of a call.
struct PlanRequest {
  const Trajectory& t;
  const MaskPlanOptions& options;
  int32_t use_index = 0;
};

void AddDrawnSteps(const PlanRequest& request, MaskPlan* plan);   // dtrpo_plan.cc
void AddEveryStep(const PlanRequest& request, MaskPlan* plan);    // exact_plan.cc
void AddElboMasks(const PlanRequest& request, MaskPlan* plan);    // vrpo_plan.cc
void AddRandomMasks(const PlanRequest& request, MaskPlan* plan);  // random_mask_plan.cc

// Of any plan of random masks: the states that MaskPlanOptions::behaviour_states speaks of, behind
// the others. External answers have no behaviour, so they get none. behaviour_plan.cc
void AddBehaviourStates(const PlanRequest& request, MaskPlan* plan);

}  // namespace dtrpo::trajectory

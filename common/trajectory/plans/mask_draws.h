// Thread safety: pure functions.
//
// Random masks over the targets of a block (of a whole response for bidirectional models). Masked
// are l of its n targets at steps >= 1: l uniform on 1..n, then any l of them with equal chance.
// That is what masking each with probability t ~ U(0, 1) gives when draws that mask nothing are
// drawn again, and what LLaDA's released likelihood code does with t = l / n.
//
// The rest of the state: block-first tokens (step 0) stand, for they are read before the block;
// what is no target (behind the stop token or max_new_tokens) is masked, as in fine-tuning.
#pragma once

#include <cstdint>

#include "common/trajectory/mask_plan.h"
#include "common/trajectory/plans/plan_rules.h"

namespace dtrpo::trajectory {

struct MaskPair {
  ScoredState first;
  // Its antithetic mate: all targets that `first` leaves, and one that it masks too. That one makes
  // its size n + 1 - l, so that it is distributed like the first: uniform on 1..n, never empty.
  ScoredState mate;
};

// The draw number `draw` of plan.blocks[block]; weights are 1. REQUIRES: the block has targets.
MaskPair DrawMasks(const PlanRequest& request, const MaskPlan& plan, int64_t block, int32_t draw);

}  // namespace dtrpo::trajectory

// Thread safety: pure functions.
//
// Draws among the steps of an answer, and what they stand for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/trajectory/mask_plan.h"

namespace dtrpo::trajectory {

// r uniform on the block's T_b steps as f(job_seed, trajectory_id, use_index, block); draw j is the
// step at position (r + j) mod T_b. Returns positions into TargetSteps().
std::vector<int32_t> DrawStepPositions(uint64_t job_seed, const std::string& trajectory_id,
                                       int32_t use_index, int64_t block, int32_t step_count,
                                       int32_t draws);

// From a sequence of `state_count` = T states in the order of blocks and steps: r uniform as
// f(job_seed, trajectory_id, use_index), draw j is the state at (r + floor(j T / k)) mod T with
// k = min(K, T). Spread out, because neighbouring states are nearly the same.
std::vector<int32_t> DrawStatePositions(uint64_t job_seed, const std::string& trajectory_id,
                                        int32_t use_index, int32_t state_count, int32_t draws);

// The state of the answer's response block `block` just before `step` (>= 1), as a part of the
// plan's block `plan_block`.
ScoredState StateOfStep(const Trajectory& t, const ResponseBlock& block, int64_t plan_block,
                        int32_t step);

// How many states each drawn state of the block stands for, so that weighted sums are unbiased:
// T_b / min(K, T_b), or T / min(K, T) when drawn from the sequence; 1 when all are there. REQUIRES:
// a state was drawn from what holds the block.
double StatesPerDraw(const MaskPlan& plan, int64_t block);

// Gives every state the weight StatesPerDraw.
void WeighDrawnSteps(MaskPlan* plan);

}  // namespace dtrpo::trajectory

#include "common/trajectory/plans/step_draws.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/philox.h"
#include "common/trajectory/state_at.h"

namespace dtrpo::trajectory {

namespace {

// Streams of the draws' generator: a block's index, or this one for the whole sequence.
constexpr uint64_t kSequenceStream = ~uint64_t{0};

// Uniform on [0, count).
int64_t FirstDraw(uint64_t job_seed, const std::string& trajectory_id, int32_t use_index,
                  uint64_t stream, int32_t count) {
  const uint64_t seed =
      base::StableHash(absl::string_view("draw"), job_seed, absl::string_view(trajectory_id),
                       static_cast<uint64_t>(use_index));
  base::CounterRng rng(seed, stream);
  return static_cast<int64_t>(rng.UniformInt(static_cast<uint64_t>(count)));
}

}  // namespace

std::vector<int32_t> DrawStepPositions(uint64_t job_seed, const std::string& trajectory_id,
                                       int32_t use_index, int64_t block, int32_t step_count,
                                       int32_t draws) {
  DTRPO_CHECK(step_count >= 0 && draws >= 1)
      << "trajectory " << trajectory_id << ", " << step_count << " steps, " << draws << " draws";
  std::vector<int32_t> positions;
  if (step_count == 0) return positions;
  const int64_t r =
      FirstDraw(job_seed, trajectory_id, use_index, static_cast<uint64_t>(block), step_count);
  for (int32_t j = 0; j < std::min(draws, step_count); ++j) {
    positions.push_back(static_cast<int32_t>((r + j) % step_count));
  }
  return positions;
}

std::vector<int32_t> DrawStatePositions(uint64_t job_seed, const std::string& trajectory_id,
                                        int32_t use_index, int32_t state_count, int32_t draws) {
  DTRPO_CHECK(state_count >= 0 && draws >= 1)
      << "trajectory " << trajectory_id << ", " << state_count << " states, " << draws << " draws";
  std::vector<int32_t> positions;
  if (state_count == 0) return positions;
  const int64_t r = FirstDraw(job_seed, trajectory_id, use_index, kSequenceStream, state_count);
  const int64_t count = std::min(draws, state_count);
  for (int64_t j = 0; j < count; ++j) {
    positions.push_back(static_cast<int32_t>((r + j * state_count / count) % state_count));
  }
  return positions;
}

ScoredState StateOfStep(const Trajectory& t, const ResponseBlock& block, int64_t plan_block,
                        int32_t step) {
  ScoredState state;
  state.block = plan_block;
  state.step = step;
  const bool sees_later_blocks = t.block_origin == BlockOrigin::kResponse;
  const int64_t end =
      sees_later_blocks ? static_cast<int64_t>(t.response_tokens.size()) : block.end;
  state.masked = MaskedBefore(t, block, step, end);
  for (const int64_t i : state.masked) {
    if (i < block.end && IsTarget(t, i) && t.unmask_step[i] == step) state.targets.push_back(i);
  }
  return state;
}

double StatesPerDraw(const MaskPlan& plan, int64_t block) {
  double states = 0;
  double drawn = 0;
  for (const BlockPlan& together : DrawnTogether(plan, block)) {
    states += together.steps;
    drawn += static_cast<double>(together.states.size());
  }
  DTRPO_CHECK(drawn > 0) << "nothing was drawn where block " << block << " is";
  return states / drawn;
}

void WeighDrawnSteps(MaskPlan* plan) {
  for (size_t b = 0; b < plan->blocks.size(); ++b) {
    for (ScoredState& state : plan->blocks[b].states) {
      state.weight = StatesPerDraw(*plan, static_cast<int64_t>(b));
    }
  }
}

}  // namespace dtrpo::trajectory

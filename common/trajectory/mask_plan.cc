#include "common/trajectory/mask_plan.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/philox.h"

namespace dtrpo::trajectory {

std::vector<int32_t> DrawStepPositions(uint64_t job_seed, const std::string& trajectory_id,
                                       int32_t use_index, int64_t block, int32_t step_count,
                                       int32_t draws) {
  DTRPO_CHECK(step_count >= 0 && draws >= 1)
      << "trajectory " << trajectory_id << ", " << step_count << " steps, " << draws << " draws";
  std::vector<int32_t> positions;
  if (step_count == 0) return positions;
  const uint64_t seed =
      base::StableHash(absl::string_view("draw"), job_seed, absl::string_view(trajectory_id),
                       static_cast<uint64_t>(use_index));
  base::CounterRng rng(seed, static_cast<uint64_t>(block));
  const int64_t r = static_cast<int64_t>(rng.UniformInt(static_cast<uint64_t>(step_count)));
  for (int32_t j = 0; j < std::min(draws, step_count); ++j) {
    positions.push_back(static_cast<int32_t>((r + j) % step_count));
  }
  return positions;
}

MaskPlan MakeMaskPlan(const Trajectory& t, const MaskPlanOptions& options, int32_t use_index) {
  MaskPlan plan;
  const std::vector<ResponseBlock> blocks = ResponseBlocks(t);
  for (int64_t b = 0; b < static_cast<int64_t>(blocks.size()); ++b) {
    const ResponseBlock& block = blocks[b];
    BlockPlan& block_plan = plan.blocks.emplace_back();
    block_plan.block = block;
    const std::vector<int32_t> steps = TargetSteps(t, block);
    block_plan.steps = static_cast<int32_t>(steps.size());
    if (options.boundary != Boundary::kExclude && IsTarget(t, block.begin) &&
        t.unmask_step[block.begin] == kBlockFirstStep) {
      block_plan.first_token = block.begin;
      ++plan.target_count;
    }
    std::vector<int32_t> positions(steps.size());
    if (options.exact) {
      std::iota(positions.begin(), positions.end(), 0);
    } else {
      positions =
          DrawStepPositions(options.job_seed, t.id, use_index, b, block_plan.steps, options.draws);
    }
    for (const int32_t position : positions) {
      ScoredState& state = block_plan.states.emplace_back();
      state.block = b;
      state.step = steps[position];
      for (int64_t i = block.begin; i < block.end; ++i) {
        if (IsTarget(t, i) && t.unmask_step[i] == state.step) state.targets.push_back(i);
      }
      plan.target_count += static_cast<int64_t>(state.targets.size());
    }
    for (int64_t i = block.begin; i < block.end; ++i) {
      if (IsTarget(t, i) && t.unmask_step[i] >= 1) ++block_plan.target_tokens;
    }
  }
  return plan;
}

absl::StatusOr<Boundary> ParseBoundary(const std::string& word) {
  if (word.empty() || word == "clean") return Boundary::kClean;
  if (word == "noisy") return Boundary::kNoisy;
  if (word == "exclude") return Boundary::kExclude;
  return absl::InvalidArgumentError(
      absl::StrCat("boundary '", word, "' is not 'clean', 'noisy' or 'exclude'"));
}

}  // namespace dtrpo::trajectory

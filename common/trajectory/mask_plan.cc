#include "common/trajectory/mask_plan.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/philox.h"

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

using StepLists = std::vector<std::vector<int32_t>>;  // steps of each block

// The steps to score, in draw order, of all steps that hold a target.
StepLists DrawnSteps(const Trajectory& t, const StepLists& all, const MaskPlanOptions& options,
                     int32_t use_index) {
  if (options.exact) return all;
  StepLists drawn(all.size());
  if (options.draw_from == DrawFrom::kBlock) {
    for (size_t b = 0; b < all.size(); ++b) {
      for (const int32_t position :
           DrawStepPositions(options.job_seed, t.id, use_index, static_cast<int64_t>(b),
                             static_cast<int32_t>(all[b].size()), options.draws)) {
        drawn[b].push_back(all[b][position]);
      }
    }
    return drawn;
  }
  std::vector<std::pair<size_t, int32_t>> states;  // block, step
  for (size_t b = 0; b < all.size(); ++b) {
    for (const int32_t step : all[b]) states.emplace_back(b, step);
  }
  for (const int32_t position : DrawStatePositions(
           options.job_seed, t.id, use_index, static_cast<int32_t>(states.size()), options.draws)) {
    drawn[states[position].first].push_back(states[position].second);
  }
  return drawn;
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

MaskPlan MakeMaskPlan(const Trajectory& t, const MaskPlanOptions& options, int32_t use_index) {
  MaskPlan plan;
  plan.draw_from = options.draw_from;
  const std::vector<ResponseBlock> blocks = ResponseBlocks(t);
  StepLists all_steps;
  for (const ResponseBlock& block : blocks) all_steps.push_back(TargetSteps(t, block));
  const StepLists drawn_steps = DrawnSteps(t, all_steps, options, use_index);
  for (size_t b = 0; b < blocks.size(); ++b) {
    const ResponseBlock& block = blocks[b];
    BlockPlan& block_plan = plan.blocks.emplace_back();
    block_plan.block = block;
    block_plan.steps = static_cast<int32_t>(all_steps[b].size());
    if (options.boundary != Boundary::kExclude && IsTarget(t, block.begin) &&
        t.unmask_step[block.begin] == kBlockFirstStep) {
      block_plan.first_token = block.begin;
      ++plan.target_count;
    }
    for (const int32_t step : drawn_steps[b]) {
      ScoredState& state = block_plan.states.emplace_back();
      state.block = static_cast<int64_t>(b);
      state.step = step;
      for (int64_t i = block.begin; i < block.end; ++i) {
        if (IsTarget(t, i) && t.unmask_step[i] == step) state.targets.push_back(i);
      }
      plan.target_count += static_cast<int64_t>(state.targets.size());
    }
    for (int64_t i = block.begin; i < block.end; ++i) {
      if (IsTarget(t, i) && t.unmask_step[i] >= 1) ++block_plan.target_tokens;
    }
  }
  return plan;
}

absl::Span<const BlockPlan> DrawnTogether(const MaskPlan& plan, int64_t block) {
  const auto all = absl::MakeConstSpan(plan.blocks);
  return plan.draw_from == DrawFrom::kBlock ? all.subspan(block, 1) : all;
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

absl::StatusOr<Boundary> ParseBoundary(const std::string& word) {
  if (word.empty() || word == "clean") return Boundary::kClean;
  if (word == "noisy") return Boundary::kNoisy;
  if (word == "exclude") return Boundary::kExclude;
  return absl::InvalidArgumentError(
      absl::StrCat("boundary '", word, "' is not 'clean', 'noisy' or 'exclude'"));
}

absl::StatusOr<DrawFrom> ParseDrawFrom(const std::string& word) {
  if (word == "block") return DrawFrom::kBlock;
  if (word == "sequence") return DrawFrom::kSequence;
  return absl::InvalidArgumentError(
      absl::StrCat("draw_from '", word, "' is neither 'block' nor 'sequence'"));
}

}  // namespace dtrpo::trajectory

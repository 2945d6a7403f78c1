// Thread safety: pure functions.
//
// Which states of a trajectory are scored, and with which weights: the sampling half of dTRPO's
// trajectory reduction (arXiv 2603.18806, one step per block instead of all T). The plan is a pure
// function of (job seed, trajectory id, use index), so policy and reference score the same states
// without a message about them, and chosen and rejected draw independently because their ids
// differ.
//
// Letters: T_b steps of block b that hold a target, T = sum of T_b over the response, K draws.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/trajectory/block_layout.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::trajectory {

// How a block-first token (token shift only) enters the score.
//   kClean    from the clean last row of the block before, as inference does; the only exact one
//   kNoisy    from the re-masked last row of the block before, as the released training does
//   kExclude  left out
enum class Boundary { kClean, kNoisy, kExclude };

// What the K draws are made from.
//   kBlock     the T_b states of each block: K states a block, which share one forward where
//              attention is block-causal
//   kSequence  all T states of the response: K states in all. For bidirectional models, where each
//              state is a forward of its own
enum class DrawFrom { kBlock, kSequence };

struct MaskPlanOptions {
  uint64_t job_seed = 1;
  int32_t draws = 1;   // K >= 1, ignored when exact
  bool exact = false;  // every step of every block
  Boundary boundary = Boundary::kClean;
  DrawFrom draw_from = DrawFrom::kBlock;
};

// One re-masked state: block `block` just before step `step`. Its targets are the response indices
// whose unmask_step equals `step`; tokens with a larger step, and those never committed, are
// masked.
struct ScoredState {
  int64_t block = 0;  // index into ResponseBlocks
  int32_t step = 0;
  std::vector<int64_t> targets;  // response indices, ascending, never empty
};

// The targets of one plan are numbered in this order: for each response block, first its step-0
// token (if it has one that is a target and the boundary isn't kExclude), then for each drawn state
// in draw order its targets by position.
struct BlockPlan {
  ResponseBlock block;
  int32_t steps = 0;         // T_b
  int64_t first_token = -1;  // response index of the step-0 target; -1: none. Weight is always 1
  // Drawn without replacement: min(K, T_b) of them, or those of the sequence's min(K, T) that lie
  // in this block; all T_b when exact.
  std::vector<ScoredState> states;
  int64_t target_tokens = 0;  // n_b: targets of the block with step >= 1
};

struct MaskPlan {
  std::vector<BlockPlan> blocks;
  int64_t target_count = 0;  // entries in plan order
  DrawFrom draw_from = DrawFrom::kBlock;
};

// The blocks whose states were drawn together with those of plan.blocks[block]: itself, or all.
absl::Span<const BlockPlan> DrawnTogether(const MaskPlan& plan, int64_t block);

// How many states each drawn state of the block stands for, so that weighted sums are unbiased:
// T_b / min(K, T_b), or T / min(K, T) when drawn from the sequence; 1 when exact. REQUIRES: a state
// was drawn from what holds the block.
double StatesPerDraw(const MaskPlan& plan, int64_t block);

// The draw: r uniform on the block's T_b steps as f(job_seed, trajectory_id, use_index, block);
// draw j is the step at position (r + j) mod T_b. Returns positions into TargetSteps().
std::vector<int32_t> DrawStepPositions(uint64_t job_seed, const std::string& trajectory_id,
                                       int32_t use_index, int64_t block, int32_t step_count,
                                       int32_t draws);

// The draw from a sequence of `state_count` = T states in the order of blocks and steps: r uniform
// as f(job_seed, trajectory_id, use_index), draw j is the state at (r + floor(j T / k)) mod T with
// k = min(K, T). Spread out, because neighbouring states are nearly the same.
std::vector<int32_t> DrawStatePositions(uint64_t job_seed, const std::string& trajectory_id,
                                        int32_t use_index, int32_t state_count, int32_t draws);

MaskPlan MakeMaskPlan(const Trajectory& t, const MaskPlanOptions& options, int32_t use_index);

absl::StatusOr<Boundary> ParseBoundary(const std::string& word);  // "clean", "noisy", "exclude"
absl::StatusOr<DrawFrom> ParseDrawFrom(const std::string& word);  // "block", "sequence"

}  // namespace dtrpo::trajectory

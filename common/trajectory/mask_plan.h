// Thread safety: pure functions.
//
// Which states of an answer are scored, and with which weights. Every preference objective is such
// a plan and a loss on what it gives (common/dtrpo/preference_loss.h); the plans are in plans/, a
// file each:
//
//   dtrpo        K of the T_b steps of each block as they were sampled: the trajectory reduction of
//                dTRPO (arXiv 2603.18806)
//   exact        every step: the trajectory's log-probability itself
//   vrpo         K random masks, each target weighed by 1 / t: the ELBO of LLaDA 1.5
//   random_mask  one random mask, or K of them, each target weighed alike: what released training
//                of masked diffusion models scores
//
// A plan is a pure function of (job seed, trajectory id, use index, block), so policy and reference
// score the same states without a message about them, and chosen and rejected draw independently
// because their ids differ.
//
// Letters: b a block, T_b its steps that hold a target, T = sum of T_b over the response, n_b its
// targets at steps >= 1, K draws.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/trajectory/block_layout.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::trajectory {

enum class PlanKind { kDtrpo, kExact, kVrpo, kRandomMask };

// How a block-first token (token shift only) enters the score.
//   kClean    from the clean last row of the block before, as inference does; the only exact one
//   kNoisy    from the re-masked last row of the block before, as the released training does
//   kExclude  left out
enum class Boundary { kClean, kNoisy, kExclude };

// What the K draws of kDtrpo are made from.
//   kBlock     the T_b states of each block: K states a block, which share one forward where
//              attention is block-causal
//   kSequence  all T states of the response: K states in all. For bidirectional models, where each
//              state is a forward of its own
enum class DrawFrom { kBlock, kSequence };

struct MaskPlanOptions {
  uint64_t job_seed = 1;
  PlanKind kind = PlanKind::kDtrpo;
  int32_t draws = 1;       // K >= 1; kExact has none
  bool antithetic = true;  // kVrpo: draws in pairs of complementary masks
  Boundary boundary = Boundary::kClean;
  DrawFrom draw_from = DrawFrom::kBlock;  // kDtrpo
  // kVrpo, kRandomMask: beside the random masks one state as it was sampled, of each block (of the
  // sequence for bidirectional models), with weight 0. The off-policy correction needs it: of
  // random masks no behaviour log-probabilities are known.
  bool behaviour_states = false;
};

inline constexpr int32_t kNoStep = 0;  // ScoredState::step of a random mask

// A state: some of a block's tokens are masked, and those of them that are scored.
struct ScoredState {
  int64_t block = 0;       // into MaskPlan::blocks
  int32_t step = kNoStep;  // >= 1: the state that was sampled from at this step
  // Response indices that hold the mask, ascending: of the block, and where blocks begin at the
  // response (bidirectional models) of all later ones.
  std::vector<int64_t> masked;
  std::vector<int64_t> targets;  // of those, ascending, never empty
  // Of each target in R, before the job's `weighting`. 0: a behaviour state, not in R.
  double weight = 1;
};

// The targets of one plan are numbered in this order: for each block, first its step-0 token (if it
// has one that is a target and the boundary isn't kExclude), then for each state in draw order its
// targets by position.
struct BlockPlan {
  ResponseBlock block;
  int32_t steps = 0;         // T_b
  int64_t first_token = -1;  // response index of the step-0 target; -1: none. Weight is always 1
  // kDtrpo: min(K, T_b) without replacement, or those of the sequence's min(K, T) that lie in this
  // block. kExact: all T_b. Else K masks, and a behaviour state if it was asked for.
  std::vector<ScoredState> states;
  int64_t target_tokens = 0;  // n_b
};

struct MaskPlan {
  PlanKind kind = PlanKind::kDtrpo;
  std::vector<BlockPlan> blocks;  // PlannedBlocks
  int64_t target_count = 0;       // entries in plan order
  DrawFrom draw_from = DrawFrom::kBlock;
  bool antithetic = false;  // states 2j and 2j + 1 of a block are a pair
};

// Whether the kind's states are those the answer was sampled through.
inline bool HoldsSampledStates(PlanKind kind) {
  return kind == PlanKind::kDtrpo || kind == PlanKind::kExact;
}

// ResponseBlocks(t), but where blocks begin at the response, random masks are drawn over the whole
// of it: then it is one block.
std::vector<ResponseBlock> PlannedBlocks(const Trajectory& t, PlanKind kind);

MaskPlan MakeMaskPlan(const Trajectory& t, const MaskPlanOptions& options, int32_t use_index);

// Everything that a plan depends on besides trajectory and use, as a key for scores.
std::string PlanKey(const MaskPlanOptions& options);

// The blocks whose states were drawn together with those of plan.blocks[block]: itself, or all.
absl::Span<const BlockPlan> DrawnTogether(const MaskPlan& plan, int64_t block);

absl::StatusOr<PlanKind> ParsePlanKind(absl::string_view word);  // as at the top
absl::string_view PlanKindWord(PlanKind kind);
absl::StatusOr<Boundary> ParseBoundary(const std::string& word);  // "clean", "noisy", "exclude"
absl::StatusOr<DrawFrom> ParseDrawFrom(const std::string& word);  // "block", "sequence"

}  // namespace dtrpo::trajectory

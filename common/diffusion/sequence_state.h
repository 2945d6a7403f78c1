// Thread safety: one thread at a time. No torch: pure bookkeeping of one sequence.
//
//   start --[1]--> kFirstToken           [1] the prompt ends with its block, and the model shifts
//     |                 |                    tokens: the first one is read from a clean row
//     +--> kDenoise <---+                [2] no mask left in the block, which isn't the last; shift
//           ^    | [2]                   [3] from any stage: a stop token with no mask before it,
//           |    v                           or no mask left in the last block
//           +- kClean   any --[3]--> kDone
//
// kFirstToken reads the prompt's last row, which somebody else computed. kDenoise runs the block's
// rows against the clean rows before it and commits candidates of the current sub-block. A finished
// block is run once more, clean, so that its K/V are exact for later blocks. With token shift that
// is kClean, whose last row gives the next block's first token (step 0), as in Fast-dLLM-v2's
// released sampler. Without shift the next block needs nothing of it but K/V: the clean rows are
// part of its first forward, and there is no kClean.
//
// Bidirectional models (LLaDA's and Dream's released samplers): blocks begin at the response, the
// whole canvas stands from the start, later blocks masked, and every forward runs over prompt and
// canvas. Nothing is kept between forwards, so kDenoise goes from block to block by itself, and
// with token shift a block's first token is read from the row before it like any other (no step 0).
//
// Positions are absolute and count the prompt. Letters: P prompt tokens, P0 = P rounded down to
// whole blocks, M max_new_tokens, B block size.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/diffusion/unmask_policy.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::diffusion {

// What all sequences of a sampler share.
struct SequenceRules {
  bool bidirectional = false;
  int32_t block_size = 0;
  int32_t sub_block = 0;  // in [1, block_size]; the last one of a block may be shorter
  int32_t max_new_tokens = 0;
  int32_t mask_id = 0;
  std::vector<int32_t> stop_ids;
  bool token_shift = false;         // row i-1 predicts token i
  bool greedy_first_token = false;  // step-0 tokens by argmax whatever the temperature
  int32_t repetition_guard = 0;     // EndsInCycle's window at the end of a block; 0: off
  const UnmaskPolicy* policy = nullptr;
};

// A token proposed for a masked position. What it is good for, is up to the policy: see
// MaskedPosition.
struct Candidate {
  int32_t token = 0;
  float logprob = 0;  // untempered, over the full vocabulary without the mask token
  float confidence = 0;
  float entropy = 0;
  float margin = 0;
};

// "Propose a token for `position` from the row at `row_position`".
struct TokenQuery {
  int64_t position = 0;
  int64_t row_position = 0;
  int32_t draw = 0;  // the step it would be committed at: (position, draw) never repeats
  bool greedy = false;
};

class SequenceState {
 public:
  enum class Stage { kFirstToken, kDenoise, kClean, kDone };

  // `rules` outlives the state. REQUIRES: prompt not empty.
  // `seed`: for policies that draw. `max_new_tokens`: 0 takes that of the rules.
  SequenceState(const SequenceRules* rules, absl::Span<const int32_t> prompt, uint64_t seed = 0,
                int32_t max_new_tokens = 0);

  Stage stage() const { return stage_; }
  // P0: rows that no response token enters; 0 if bidirectional.
  int64_t prompt_rows() const { return prompt_rows_; }

  // Rows of the next forward, in kDenoise and kClean, and the position of the first: one or two
  // whole blocks, each attending to all rows before it and to its own; if bidirectional the whole
  // sequence, attending to itself.
  int64_t forward_position() const;
  absl::Span<const int32_t> forward_tokens() const;

  // Candidates the next Advance needs, by position. Never empty before kDone.
  std::vector<TokenQuery> Queries() const;

  // Commits what rules and policy say, and moves on. `candidates` answer Queries(), in order.
  void Advance(absl::Span<const Candidate> candidates);

  int64_t committed_targets() const;

  // Targets of the blocks that are finished (all of them, when done): these won't change any more.
  absl::Span<const int32_t> finished_targets() const;

  // REQUIRES: kDone. Fills prompt, response, steps, log-probabilities, block layout, stop and
  // finish.
  void FillTrajectory(trajectory::Trajectory* t) const;

 private:
  // Targets among the first `tokens` response tokens.
  int64_t TargetsWithin(int64_t tokens) const;
  bool IsMasked(int64_t position) const;
  bool AnyMask(int64_t begin, int64_t end) const;
  void Commit(int64_t position, const Candidate& candidate, int32_t step);
  void CommitSelected(absl::Span<const Candidate> candidates);
  void EnterBlock(int64_t position);
  void AfterCommit();
  int64_t FirstStop() const;  // position of the stop token that ends sampling; -1: none
  int64_t sub_block_end() const;

  const SequenceRules* const rules_;
  const uint64_t seed_;
  const int32_t max_new_tokens_;  // M
  const int64_t prompt_size_;     // P
  const int64_t prompt_rows_;     // P0
  const int64_t end_;             // one past the canvas
  Stage stage_ = Stage::kDenoise;

  std::vector<int32_t> tokens_;       // prompt, canvas to the end of the current block or whole
  std::vector<int32_t> unmask_step_;  // per response token
  std::vector<float> logprob_;        // per response token
  int64_t block_position_ = 0;        // first row of the current block
  int64_t unstored_position_ = -1;    // >= 0: the finished block before it, not yet run clean
  int64_t sub_block_position_ = 0;    // first position of the current sub-block
  SubBlockProgress progress_;         // in the current sub-block
  int32_t step_ = 0;                  // steps taken in the current block
  int64_t stop_position_ = -1;
  bool ends_in_cycle_ = false;
};

}  // namespace dtrpo::diffusion

// Thread safety: pure functions, plain data. No torch.
//
// Lays the planned states of trajectories out as the rows of one forward: dTRPO's one-forward score
// (arXiv 2603.18806) on the two-half rows of Fast-dLLM-v2's training forward, without the rows that
// nobody reads. Per trajectory, with B rows a block:
//
//   prompt blocks    floor(P/B) whole blocks; shared by inputs whose whole blocks hold equal tokens
//   clean blocks     response blocks with their final tokens (the first with the prompt's tail),
//                    each sees prompt and clean blocks up to itself; the last is a key for no row
//                    that is read, so it is left out
//   re-masked blocks one for each planned state (K draws share the clean blocks); sees prompt and
//                    clean blocks before its own, and itself
//
// Both copies of a block have the same positions. With token shift, row i-1 predicts token i, and a
// block-first token (step 0) is predicted by the clean last row of the block before, which may be
// the last prompt row: that is what sampling does, so the score is exact.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/dtrpo/score_input.h"
#include "common/trajectory/mask_plan.h"

namespace dtrpo::objective {

struct RemaskOptions {
  int32_t mask_id = 0;
  int64_t vocabulary_size = 0;
  int32_t logit_shift = 1;  // 1: row i-1 predicts token i; 0: row i does
  // kNoisy reads a block-first token from the last row of the first re-masked state of the block
  // before, as the released training does. Where there is none (the prompt, a block without drawn
  // states) the clean row serves. It is no state of the trajectory: a biased option.
  trajectory::Boundary boundary = trajectory::Boundary::kClean;
};

// INVALID_ARGUMENT naming the trajectory when a plan doesn't fit it, or it doesn't fit the model (a
// token outside the vocabulary, step-0 tokens without token shift or the other way round, a block
// origin that isn't absolute).
absl::StatusOr<RemaskedBatch> Remask(absl::Span<const ScoreInput> inputs,
                                     const RemaskOptions& options);

}  // namespace dtrpo::objective

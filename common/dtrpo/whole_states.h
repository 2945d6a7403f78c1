// Thread safety: pure functions. No torch.
//
// Lays the planned states of trajectories out as rows for bidirectional models (LLaDA, Dream):
// there a clean row would see later masks, so nothing is shared between states. Each state is a
// segment of its own over prompt and whole canvas and sees all of itself: what the sampler ran, so
// the score of a state that was sampled is exact. Segments have their own lengths; nothing is
// padded.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/dtrpo/score_input.h"

namespace dtrpo::objective {

struct WholeStateOptions {
  int32_t mask_id = 0;
  int64_t vocabulary_size = 0;
  int32_t logit_shift = 0;     // 1: row i-1 predicts token i; 0: row i does
  int64_t max_rows = 1 << 13;  // states share a batch while their rows stay within this
};

// At least one state a batch; the batches' targets concatenated are the inputs' in plan order.
// INVALID_ARGUMENT naming the trajectory when a plan doesn't fit it, or it doesn't fit the model (a
// token outside the vocabulary, step-0 tokens, blocks that don't begin at the response).
absl::StatusOr<std::vector<RemaskedBatch>> LayOutWholeStates(absl::Span<const ScoreInput> inputs,
                                                             const WholeStateOptions& options);

}  // namespace dtrpo::objective

// Thread safety: pure functions. No torch.
//
// Whether a trajectory and its plan fit each other and the model, before either is used as indices.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "common/dtrpo/score_input.h"

namespace dtrpo::objective {

struct PlanExpectations {
  int64_t vocabulary_size = 0;
  trajectory::BlockOrigin block_origin = trajectory::BlockOrigin::kAbsolute;
  // Blocks that begin in the response have a step-0 token: block-causal models with token shift.
  bool first_tokens = false;
};

// INVALID_ARGUMENT naming the trajectory and what doesn't fit.
absl::Status CheckPlan(const ScoreInput& input, const PlanExpectations& expected);

}  // namespace dtrpo::objective

// Thread safety: plain data. No torch.
#pragma once

#include <cstdint>
#include <vector>

#include "common/model/row_batch.h"
#include "common/trajectory/mask_plan.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::objective {

// Borrowed; both must outlive the call they are given to.
struct ScoreInput {
  const trajectory::Trajectory* trajectory = nullptr;
  const trajectory::MaskPlan* plan = nullptr;
};

// The rows of one forward that scores inputs.
struct RemaskedBatch {
  model::RowBatch rows;
  // One entry per target, inputs concatenated, each in plan order.
  std::vector<int64_t> target_rows;    // the row that predicts it
  std::vector<int64_t> target_tokens;  // the token it predicts
};

}  // namespace dtrpo::objective

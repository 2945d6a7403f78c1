// Thread safety: pure functions.
//
// Rebuilds what stood on a trajectory's canvas while it was sampled: for forwards that need the
// whole state (bidirectional models), and for showing how an answer came about.
//
// Letters: R response tokens.
#pragma once

#include <cstdint>
#include <vector>

#include "common/trajectory/block_layout.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::trajectory {

// Response indices below `end` that hold the mask just before step `step` (>= 1) of `block`,
// ascending: blocks before it are finished, its own tokens of this and later steps are masked, and
// so are later blocks. Block-first tokens (step 0) stand.
std::vector<int64_t> MaskedBefore(const Trajectory& t, const ResponseBlock& block, int32_t step,
                                  int64_t end);

// Response tokens [R] with the masks of MaskedBefore over the whole response. Its block is an index
// into ResponseBlocks.
std::vector<int32_t> StateBefore(const Trajectory& t, int64_t block, int32_t step, int32_t mask_id);

// The canvas [R] before anything was committed, then after each step in which something was: for
// each block its step 0 if it has one, then steps 1, 2, ... The last frame is response_tokens.
std::vector<std::vector<int32_t>> DenoisingFrames(const Trajectory& t, int32_t mask_id);

}  // namespace dtrpo::trajectory

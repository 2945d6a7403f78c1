// Thread safety: pure functions.
//
// Where the blocks of a response lie. With the absolute origin, block(i) = i div B on positions
// that count the prompt, so a prompt tail (P mod B tokens) shares the first response block as
// context. With the response origin blocks start at the first response token.
#pragma once

#include <cstdint>
#include <vector>

#include "common/trajectory/trajectory.h"

namespace dtrpo::trajectory {

// One response block, in response indices [begin, end). `position` is the absolute position of the
// block's first row, which belongs to the prompt when there is a prompt tail: then position < P.
struct ResponseBlock {
  int64_t begin = 0;     // first response index in the block
  int64_t end = 0;       // one past the last
  int64_t position = 0;  // absolute position of the block's first row
  int64_t rows = 0;      // B; rows - (end - begin) of them are prompt tail
  bool starts_in_response =
      false;  // the block's first row is a response token (it then may have a step-0 token)
};

// Blocks of a response of `response_tokens` tokens after a prompt of `prompt_tokens`. The response
// must end at a block's end.
std::vector<ResponseBlock> ResponseBlocks(int64_t prompt_tokens, int64_t response_tokens,
                                          int64_t block_size, BlockOrigin origin);
std::vector<ResponseBlock> ResponseBlocks(const Trajectory& t);

// The length a canvas of max_new_tokens needs so that it ends with its block.
int64_t CanvasTokens(int64_t prompt_tokens, int64_t max_new_tokens, int64_t block_size,
                     BlockOrigin origin);

// The distinct steps >= 1 of the block that hold a target, ascending. Its size is T_b.
std::vector<int32_t> TargetSteps(const Trajectory& t, const ResponseBlock& block);

}  // namespace dtrpo::trajectory

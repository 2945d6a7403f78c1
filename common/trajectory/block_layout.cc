#include "common/trajectory/block_layout.h"

#include <algorithm>

#include "common/base/check.h"

namespace dtrpo::trajectory {

std::vector<ResponseBlock> ResponseBlocks(int64_t prompt_tokens, int64_t response_tokens,
                                          int64_t block_size, BlockOrigin origin) {
  DTRPO_CHECK(prompt_tokens >= 0 && response_tokens >= 0 && block_size >= 1);
  const int64_t tail = origin == BlockOrigin::kAbsolute ? prompt_tokens % block_size : 0;
  DTRPO_CHECK((tail + response_tokens) % block_size == 0);
  std::vector<ResponseBlock> blocks;
  blocks.reserve((tail + response_tokens) / block_size);
  for (int64_t begin = 0, row = -tail; begin < response_tokens; row += block_size) {
    ResponseBlock block;
    block.begin = begin;
    block.end = row + block_size;
    block.position = prompt_tokens + row;
    block.rows = block_size;
    block.starts_in_response = row >= 0;
    begin = block.end;
    blocks.push_back(block);
  }
  return blocks;
}

std::vector<ResponseBlock> ResponseBlocks(const Trajectory& t) {
  return ResponseBlocks(static_cast<int64_t>(t.prompt_tokens.size()),
                        static_cast<int64_t>(t.response_tokens.size()), t.block_size,
                        t.block_origin);
}

int64_t CanvasTokens(int64_t prompt_tokens, int64_t max_new_tokens, int64_t block_size,
                     BlockOrigin origin) {
  DTRPO_CHECK(prompt_tokens >= 0 && max_new_tokens >= 1 && block_size >= 1);
  const int64_t tail = origin == BlockOrigin::kAbsolute ? prompt_tokens % block_size : 0;
  const int64_t blocks = (tail + max_new_tokens + block_size - 1) / block_size;
  return blocks * block_size - tail;
}

std::vector<int32_t> TargetSteps(const Trajectory& t, const ResponseBlock& block) {
  std::vector<int32_t> steps;
  const int64_t end = std::min(block.end, TargetCount(t));
  for (int64_t i = block.begin; i < end; ++i) {
    if (t.unmask_step[i] >= 1) steps.push_back(t.unmask_step[i]);
  }
  std::sort(steps.begin(), steps.end());
  steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
  return steps;
}

}  // namespace dtrpo::trajectory

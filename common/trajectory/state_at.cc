#include "common/trajectory/state_at.h"

#include <set>

#include "common/base/check.h"
#include "common/trajectory/block_layout.h"

namespace dtrpo::trajectory {

std::vector<int64_t> MaskedBefore(const Trajectory& t, const ResponseBlock& block, int32_t step,
                                  int64_t end) {
  DTRPO_CHECK(block.begin >= 0 && end <= static_cast<int64_t>(t.unmask_step.size()));
  std::vector<int64_t> masked;
  for (int64_t i = block.begin; i < end; ++i) {
    const bool later = i >= block.end;
    if (later || t.unmask_step[i] >= step || t.unmask_step[i] == kNeverCommitted) {
      masked.push_back(i);
    }
  }
  return masked;
}

std::vector<int32_t> StateBefore(const Trajectory& t, int64_t block, int32_t step,
                                 int32_t mask_id) {
  const std::vector<ResponseBlock> blocks = ResponseBlocks(t);
  DTRPO_CHECK(block >= 0 && block < static_cast<int64_t>(blocks.size()));
  std::vector<int32_t> tokens = t.response_tokens;
  for (const int64_t i :
       MaskedBefore(t, blocks[block], step, static_cast<int64_t>(tokens.size()))) {
    tokens[i] = mask_id;
  }
  return tokens;
}

std::vector<std::vector<int32_t>> DenoisingFrames(const Trajectory& t, int32_t mask_id) {
  std::vector<std::vector<int32_t>> frames = {
      std::vector<int32_t>(t.response_tokens.size(), mask_id)};
  for (const ResponseBlock& block : ResponseBlocks(t)) {
    std::set<int32_t> steps(t.unmask_step.begin() + block.begin, t.unmask_step.begin() + block.end);
    steps.erase(kNeverCommitted);
    for (const int32_t step : steps) {
      frames.push_back(frames.back());
      for (int64_t i = block.begin; i < block.end; ++i) {
        if (t.unmask_step[i] == step) frames.back()[i] = t.response_tokens[i];
      }
    }
  }
  return frames;
}

}  // namespace dtrpo::trajectory

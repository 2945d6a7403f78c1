#include "common/diffusion/step_batch.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"

namespace dtrpo::diffusion {

int64_t StepBatch::AddPromptBlocks(CacheSlots* slots, int32_t prompt, int64_t max_rows) {
  const absl::Span<const int32_t> tokens = slots->prompt_tokens(prompt);
  const int64_t total = static_cast<int64_t>(tokens.size());
  const int64_t begin = slots->prompt_begin(prompt);
  int64_t row = slots->filled_rows(prompt);
  DTRPO_CHECK_LT(row, total);
  const int64_t blocks = std::max<int64_t>(1, max_rows / block_size_);
  const int64_t end = std::min(total, row + blocks * block_size_);
  for (; row < end; row += block_size_) {
    AddBlock(tokens.subspan(row, block_size_), row, begin + row,
             {{begin, begin + row + block_size_}});
  }
  slots->set_filled_rows(prompt, end);
  return size() - 1;
}

int64_t StepBatch::AddSequenceBlock(const SequenceState& state, const CacheSlots& slots,
                                    const CacheSlots::Slot& slot) {
  const int64_t first_row = size();
  const int64_t prompt_rows = state.prompt_rows();
  const int64_t own_begin = slots.own_begin(slot.own);
  const int64_t cache_row = own_begin + state.forward_position() - prompt_rows;
  std::vector<model::KeyRange> keys;
  if (prompt_rows > 0) {
    const int64_t prompt_begin = slots.prompt_begin(slot.prompt);
    keys.push_back({prompt_begin, prompt_begin + prompt_rows});
  }
  keys.push_back({own_begin, cache_row + block_size_});
  AddBlock(state.forward_tokens(), state.forward_position(), cache_row, std::move(keys));
  return first_row;
}

int64_t StepBatch::AddWholeSequence(const SequenceState& state) {
  const int64_t begin = size();
  AddRows(state.forward_tokens(), state.forward_position());
  rows_.segments.push_back({begin, size(), {{begin, size()}}});
  return begin;
}

void StepBatch::AddBlock(absl::Span<const int32_t> tokens, int64_t position, int64_t cache_row,
                         std::vector<model::KeyRange> keys) {
  const int64_t begin = size();
  AddRows(tokens, position);
  for (int64_t row = begin; row < size(); ++row) {
    rows_.cache_rows.push_back(cache_row + row - begin);
  }
  rows_.segments.push_back({begin, size(), std::move(keys)});
}

void StepBatch::AddRows(absl::Span<const int32_t> tokens, int64_t position) {
  rows_.token_ids.insert(rows_.token_ids.end(), tokens.begin(), tokens.end());
  for (size_t i = 0; i < tokens.size(); ++i) rows_.positions.push_back(position++);
}

}  // namespace dtrpo::diffusion

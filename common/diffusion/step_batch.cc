#include "common/diffusion/step_batch.h"

#include <utility>
#include <vector>

namespace dtrpo::diffusion {
namespace {

// Cache rows of the first `blocks` pages, neighbours as one range.
std::vector<model::KeyRange> RowsOf(const CachePages::Table& pages, int64_t blocks,
                                    int64_t block_size) {
  std::vector<model::KeyRange> ranges;
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t begin = pages[i] * block_size;
    if (ranges.empty() || ranges.back().end != begin) ranges.push_back({begin, begin});
    ranges.back().end += block_size;
  }
  return ranges;
}

}  // namespace

int64_t StepBatch::AddPromptBlock(absl::Span<const int32_t> prompt, int64_t block,
                                  const CachePages::Table& pages) {
  return AddBlock(prompt.subspan(block * block_size_, block_size_), block, pages);
}

int64_t StepBatch::AddSequenceBlocks(const SequenceState& state, const CachePages::Table& pages) {
  const int64_t first_row = size();
  absl::Span<const int32_t> tokens = state.forward_tokens();
  for (int64_t block = state.forward_position() / block_size_; !tokens.empty(); ++block) {
    AddBlock(tokens.subspan(0, block_size_), block, pages);
    tokens.remove_prefix(block_size_);
  }
  return first_row;
}

int64_t StepBatch::AddWholeSequence(const SequenceState& state) {
  const int64_t begin = size();
  AddRows(state.forward_tokens(), state.forward_position());
  rows_.segments.push_back({begin, size(), {{begin, size()}}});
  return begin;
}

int64_t StepBatch::AddBlock(absl::Span<const int32_t> tokens, int64_t block,
                            const CachePages::Table& pages) {
  const int64_t begin = size();
  AddRows(tokens, block * block_size_);
  for (int64_t i = 0; i < block_size_; ++i) {
    rows_.cache_rows.push_back(pages[block] * int64_t{block_size_} + i);
  }
  rows_.segments.push_back({begin, size(), RowsOf(pages, block + 1, block_size_)});
  return begin;
}

void StepBatch::AddRows(absl::Span<const int32_t> tokens, int64_t position) {
  rows_.token_ids.insert(rows_.token_ids.end(), tokens.begin(), tokens.end());
  for (size_t i = 0; i < tokens.size(); ++i) rows_.positions.push_back(position++);
}

}  // namespace dtrpo::diffusion

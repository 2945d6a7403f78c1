// Thread safety: one thread at a time. No torch.
//
// Collects the rows of one forward from prompts being prefilled and from sequences, as segments
// over cache rows: block i of a prompt or a sequence attends to the pages of blocks 0..i.
//
// A row's keys may be written by the same forward: the model stores all rows of a layer before any
// row of that layer attends. Bidirectional sequences come whole and see themselves, without a
// cache; one batch never mixes the two kinds.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "common/diffusion/cache_pages.h"
#include "common/diffusion/sequence_state.h"
#include "common/model/row_batch.h"

namespace dtrpo::diffusion {

class StepBatch {
 public:
  explicit StepBatch(int32_t block_size) : block_size_(block_size) { rows_.output_rows.emplace(); }

  // Each returns the index of its first row in the batch.
  // Block `block` of a prompt.
  int64_t AddPromptBlock(absl::Span<const int32_t> prompt, int64_t block,
                         const CachePages::Table& pages);
  // The blocks that a block-causal sequence runs next.
  int64_t AddSequenceBlocks(const SequenceState& state, const CachePages::Table& pages);
  // A whole bidirectional sequence.
  int64_t AddWholeSequence(const SequenceState& state);

  // The forward's next output is this row's.
  void AddOutput(int64_t row) { rows_.output_rows->push_back(row); }

  bool empty() const { return rows_.token_ids.empty(); }
  int64_t size() const { return static_cast<int64_t>(rows_.token_ids.size()); }
  int64_t outputs() const { return static_cast<int64_t>(rows_.output_rows->size()); }
  const model::RowBatch& rows() const { return rows_; }

 private:
  int64_t AddBlock(absl::Span<const int32_t> tokens, int64_t block, const CachePages::Table& pages);
  void AddRows(absl::Span<const int32_t> tokens, int64_t position);

  const int32_t block_size_;
  model::RowBatch rows_;
};

}  // namespace dtrpo::diffusion

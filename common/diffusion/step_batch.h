// Thread safety: one thread at a time. No torch.
//
// Collects the rows of one forward from prompts being prefilled and from sequences, as segments
// over cache rows:
//
//   prompt block i   keys: prompt rows [0, (i+1) B)
//   sequence block   keys: prompt rows [0, P0), own rows [0, block end - P0)
//
// A row's keys may be written by the same forward: the model stores all rows of a layer before any
// row of that layer attends. Bidirectional sequences come whole and see themselves, without a
// cache; one batch never mixes the two kinds.
#pragma once

#include <cstdint>

#include "common/diffusion/cache_slots.h"
#include "common/diffusion/sequence_state.h"
#include "common/model/row_batch.h"

namespace dtrpo::diffusion {

class StepBatch {
 public:
  explicit StepBatch(int32_t block_size) : block_size_(block_size) {}

  // Up to `max_rows` more rows of the prompt slab, whole blocks and at least one; marks them
  // filled. Returns the last row's index in the batch. REQUIRES: the slab isn't filled.
  int64_t AddPromptBlocks(CacheSlots* slots, int32_t prompt, int64_t max_rows);

  // The current block of a block-causal sequence. Returns its first row's index in the batch.
  int64_t AddSequenceBlock(const SequenceState& state, const CacheSlots& slots,
                           const CacheSlots::Slot& slot);

  // A whole bidirectional sequence. Returns its first row's index in the batch.
  int64_t AddWholeSequence(const SequenceState& state);

  bool empty() const { return rows_.token_ids.empty(); }
  int64_t size() const { return static_cast<int64_t>(rows_.token_ids.size()); }
  const model::RowBatch& rows() const { return rows_; }

 private:
  // One segment of the block at `position`, whose K/V go to cache rows from `cache_row` on.
  void AddBlock(absl::Span<const int32_t> tokens, int64_t position, int64_t cache_row,
                std::vector<model::KeyRange> keys);
  void AddRows(absl::Span<const int32_t> tokens, int64_t position);

  const int32_t block_size_;
  model::RowBatch rows_;
};

}  // namespace dtrpo::diffusion

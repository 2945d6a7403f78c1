// Thread safety: immutable after Build().
//
// How one forward's rows are laid out so that few calls compute all attention. Segments with
// equally many query rows and equally many key rows form a group, and a group is one batched call.
// Rows are put in group order once, before the first layer, and back once, after the last: rows
// meet each other in attention only, so no layer pays for it.
//
//   caller's rows   s0 s1 s2 s3        (s1 and s3 have 4 query and 12 key rows, the others 4 and 8)
//   plan's rows     s0 s2 | s1 s3      group 0: n=2, Lq=4, Lk=8; group 1: n=2, Lq=4, Lk=12
//
// The last layer computes output rows only: each segment asks with those of its rows that somebody
// reads, so it has groups of its own.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "common/model/row_batch.h"

namespace dtrpo::model {

struct AttentionGroup {
  int64_t segments = 0;     // n
  int64_t query_begin = 0;  // its queries are the plan's rows [query_begin, + n * Lq)
  int64_t query_rows = 0;   // Lq, per segment
  int64_t key_rows = 0;     // Lk, per segment
  int64_t key_begin = -1;   // >= 0: its keys are the rows [key_begin, + n * Lk), no gather
  torch::Tensor key_index;  // [n * Lk] int64, when key_begin < 0
};

struct AttentionPlan {
  std::vector<AttentionGroup> groups;
  std::vector<AttentionGroup> last_groups;  // the last layer's
  torch::Tensor token_ids;                  // [R] in the plan's row order
  torch::Tensor positions;                  // [R] likewise
  torch::Tensor cache_rows;                 // [R] likewise; undefined without a cache
  torch::Tensor last_rows;  // [r'] plan's rows the last layer asks for; undefined: all, as they are
  torch::Tensor restore;    // [r] output -> row of the last layer; undefined when they are the same

  // `cache_capacity_rows`: key ranges are rows of a cache of that size; -1: rows of the batch.
  // Throws c10::Error when segments don't partition the rows, ranges leave the key rows, or a token
  // id isn't in [0, vocab_size).
  static AttentionPlan Build(const RowBatch& batch, int64_t cache_capacity_rows, int64_t vocab_size,
                             const torch::Device& device);
};

}  // namespace dtrpo::model

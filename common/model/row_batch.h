// Thread safety: plain data. No torch.
//
// One forward is a flat list of rows cut into segments. All rows of a segment see the same keys,
// completely: masks of block diffusion are unions of a few contiguous key ranges per block, so no
// dense mask is ever made.
//
//   rows      [ prompt block 0 | prompt block 1 | clean block 2 | noisy block 2 | noisy block 2,
//   other draw | ... ] segment     keys [0,B)       keys [0,2B)      keys [0,3B)     keys [0,2B)
//   and its own rows
//
// Without a cache, key ranges index the rows of this batch (training, scoring). With a cache, they
// index cache rows, and each row of the batch first writes its K/V to cache_rows[row] (sampling: a
// block's rows are rewritten at every denoising step and hold exact values after its clean pass).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace dtrpo::model {

struct KeyRange {
  int64_t begin = 0;
  int64_t end = 0;
};

struct Segment {
  int64_t begin = 0;  // rows [begin, end) of the batch; segments partition the rows in order
  int64_t end = 0;
  std::vector<KeyRange> keys;  // in the order they are attended; at least one, non-empty
};

struct RowBatch {
  std::vector<int64_t> token_ids;  // [R]
  std::vector<int64_t> positions;  // [R] absolute, for RoPE; repeated positions are normal
  std::vector<Segment> segments;
  std::vector<int64_t> cache_rows;  // [R] or empty: where each row's K/V is stored
  // [r] rows whose hidden states are wanted, in the wanted order, repeats allowed; unset: all. The
  // last layer gives the others nothing but their keys and values.
  std::optional<std::vector<int64_t>> output_rows = std::nullopt;
};

}  // namespace dtrpo::model

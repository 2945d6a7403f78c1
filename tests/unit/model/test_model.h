// Thread safety: pure functions.
//
// Tiny models and row batches for the tests of common/model.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "common/checkpoint/model_descriptor.h"
#include "common/model/row_batch.h"
#include "common/model/transformer.h"

namespace dtrpo::model {

// Two layers, 4 query and 2 key/value heads, vocabulary 11, mask 3, block 4; valid for Validate().
checkpoint::ModelDescriptor TinyDescriptor();

// Random weights of descriptor, with biases and norms random too, large enough for logits of
// several units.
std::unique_ptr<Transformer> TinyTransformer(const checkpoint::ModelDescriptor& descriptor,
                                             const LoadOptions& options, uint64_t seed = 1);

// Rows of one sequence at positions 0.., each block seeing the blocks up to itself.
RowBatch BlockCausalRows(const std::vector<int64_t>& tokens, int64_t block);

// Rows [noisy ; clean] of equal length, as Fast-dLLM-v2 is trained: a noisy block sees the clean
// blocks before it and itself, a clean block the clean blocks up to itself.
RowBatch TwoHalfRows(const std::vector<int64_t>& noisy, const std::vector<int64_t>& clean,
                     int64_t block);

// The rows of TwoHalfRows that scoring needs: clean ones but for the last block, noisy ones from
// the block on that holds position `prompt`. `source_rows` gets each row's place in TwoHalfRows.
RowBatch CompactRows(const std::vector<int64_t>& noisy, const std::vector<int64_t>& clean,
                     int64_t block, int64_t prompt, std::vector<int64_t>* source_rows);

// One segment: every row sees every row.
RowBatch BidirectionalRows(const std::vector<int64_t>& tokens);

float MaxDifference(const torch::Tensor& a, const torch::Tensor& b);

}  // namespace dtrpo::model

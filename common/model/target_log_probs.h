// Thread safety: const on the model.
#pragma once

#include <torch/types.h>

#include "common/model/transformer.h"

namespace dtrpo::model {

inline constexpr int64_t kLogitsPerChunk = int64_t{1} << 23;  // 32 MiB in float32

// log p(targets[i] | hidden_rows[i]): natural log of the untempered softmax over the full
// vocabulary with `mask_id` excluded, in float32 at least. hidden_rows [r, D], targets [r] int64 ->
// [r]. A target that is the mask itself gets -infinity. Differentiable.
//
// Works through the rows in chunks and keeps no logits for the backward pass but makes them again,
// so that [r, V] never exists at once.
torch::Tensor TargetLogProbs(const Transformer& model, const torch::Tensor& hidden_rows,
                             const torch::Tensor& targets, int64_t mask_id,
                             int64_t logits_per_chunk = kLogitsPerChunk);

}  // namespace dtrpo::model

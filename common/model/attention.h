// Thread safety: pure functions.
#pragma once

#include <torch/types.h>

#include <vector>

#include "common/model/attention_plan.h"

namespace dtrpo::model {

// Softmax attention of every row over the keys of its segment, scaled by 1 / sqrt(E), with
// grouped-query heads: query head h reads key/value head h div (H / G).
// queries [R, H, E] in the groups' row order; keys, values [rows, G, E], of the batch or of a
// cache. Returns [R, H * E]. Differentiable.
torch::Tensor Attend(const std::vector<AttentionGroup>& groups, const torch::Tensor& queries,
                     const torch::Tensor& keys, const torch::Tensor& values);

}  // namespace dtrpo::model

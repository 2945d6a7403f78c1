// Thread safety: pure functions.
#pragma once

#include <torch/types.h>

namespace dtrpo::model {

// Logits hidden [r, D], weight [V, D] -> [r, V], in their dtype.
torch::Tensor HeadLogits(const torch::Tensor& hidden, const torch::Tensor& weight);

}  // namespace dtrpo::model

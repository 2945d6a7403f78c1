// Thread safety: pure functions.
#pragma once

#include <torch/types.h>

namespace dtrpo::model {

// weight * x / sqrt(mean(x^2) + epsilon) over the last dimension. As in transformers' Qwen2RMSNorm,
// x is normalised in float32 at least and cast back before the weight is applied.
// x [..., D], weight [D] -> [..., D].
torch::Tensor RmsNorm(const torch::Tensor& x, const torch::Tensor& weight, double epsilon);

}  // namespace dtrpo::model

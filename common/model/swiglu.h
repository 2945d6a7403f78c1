// Thread safety: pure function.
#pragma once

#include <torch/types.h>

namespace dtrpo::model {

// silu(gate) * up, of equal shape. For the backward pass only the two are kept.
torch::Tensor SwiGlu(const torch::Tensor& gate, const torch::Tensor& up);

}  // namespace dtrpo::model

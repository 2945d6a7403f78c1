#include "common/model/rotary.h"

namespace dtrpo::model {

Rotary::Rotary(const torch::Tensor& positions, int64_t head_dim, double theta, torch::Dtype dtype)
    : half_(head_dim / 2) {
  const auto float32 = torch::dtype(torch::kFloat32).device(positions.device());
  const torch::Tensor exponents = torch::arange(0, head_dim, 2, float32) / head_dim;
  const torch::Tensor frequencies = torch::pow(theta, exponents).reciprocal();  // [E/2]
  const torch::Tensor angles =
      positions.to(torch::kFloat32).unsqueeze(1) * frequencies;  // [R, E/2]
  const torch::Tensor cos = angles.cos().to(dtype), sin = angles.sin().to(dtype);
  cos_ = torch::cat({cos, cos}, -1).unsqueeze(1);
  signed_sin_ = torch::cat({-sin, sin}, -1).unsqueeze(1);
}

Rotary Rotary::Rows(const torch::Tensor& index) const {
  return Rotary(half_, cos_.index_select(0, index), signed_sin_.index_select(0, index));
}

torch::Tensor Rotary::Apply(const torch::Tensor& x) const {
  // (a, b) -> (a cos - b sin, b cos + a sin): the minus sits in signed_sin_, so that swapping the
  // halves is one copy and the rest two fused operations.
  const torch::Tensor swapped =
      torch::cat({x.narrow(-1, half_, half_), x.narrow(-1, 0, half_)}, -1);
  return torch::addcmul(x * cos_, swapped, signed_sin_);
}

}  // namespace dtrpo::model

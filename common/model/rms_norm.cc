#include "common/model/rms_norm.h"

namespace dtrpo::model {

torch::Tensor RmsNorm(const torch::Tensor& x, const torch::Tensor& weight, double epsilon) {
  const bool wide = x.scalar_type() == torch::kFloat32 || x.scalar_type() == torch::kFloat64;
  const torch::Tensor exact = wide ? x : x.to(torch::kFloat32);
  const torch::Tensor scale = exact.square().mean(-1, /*keepdim=*/true).add(epsilon).rsqrt();
  const torch::Tensor normed = exact * scale;
  return (wide ? normed : normed.to(x.scalar_type())) * weight;
}

}  // namespace dtrpo::model

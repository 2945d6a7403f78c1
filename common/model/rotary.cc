#include "common/model/rotary.h"

#include <torch/autograd.h>
#include <torch/utils.h>

namespace dtrpo::model {
namespace {

// (a, b) -> (b, a). With (a, b) -> (a cos - b sin, b cos + a sin), the minus sits in signed_sin, so
// that swapping the halves is one copy and the rest two fused operations.
torch::Tensor Swapped(const torch::Tensor& x) {
  const int64_t half = x.size(-1) / 2;
  return torch::cat({x.narrow(-1, half, half), x.narrow(-1, 0, half)}, -1);
}

// Keeps nothing of x: the gradient is turned back by the same angles.
struct Turn : public torch::autograd::Function<Turn> {
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x,
                               const torch::Tensor& cos, const torch::Tensor& signed_sin) {
    context->save_for_backward({cos, signed_sin});
    return torch::addcmul(x * cos, Swapped(x), signed_sin);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const torch::autograd::variable_list saved = context->get_saved_variables();
    return {Swapped(gradients[0] * saved[1]).addcmul_(gradients[0], saved[0]), torch::Tensor(),
            torch::Tensor()};
  }
};

}  // namespace

Rotary::Rotary(const torch::Tensor& positions, int64_t head_dim, double theta, torch::Dtype dtype) {
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
  return Rotary(cos_.index_select(0, index), signed_sin_.index_select(0, index));
}

torch::Tensor Rotary::Apply(const torch::Tensor& x) const {
  if (torch::GradMode::is_enabled() && x.requires_grad()) {
    return Turn::apply(x, cos_, signed_sin_);
  }
  return torch::addcmul(x * cos_, Swapped(x), signed_sin_);
}

}  // namespace dtrpo::model

#include "common/model/rms_norm.h"

#include <torch/autograd.h>
#include <torch/utils.h>

namespace dtrpo::model {
namespace {

bool Wide(const torch::Tensor& x) {
  return x.scalar_type() == torch::kFloat32 || x.scalar_type() == torch::kFloat64;
}

torch::Tensor Widened(const torch::Tensor& x) { return Wide(x) ? x : x.to(torch::kFloat32); }

// 1 / root mean square, [.., 1].
torch::Tensor Scale(const torch::Tensor& x, double epsilon) {
  return Widened(x).square().mean(-1, /*keepdim=*/true).add_(epsilon).rsqrt_();
}

torch::Tensor Normed(const torch::Tensor& x, const torch::Tensor& scale) {
  return (Widened(x) * scale).to(x.scalar_type());
}

// Keeps the rows and one number for each; autograd would keep the rows three times.
struct RmsNormFunction : public torch::autograd::Function<RmsNormFunction> {
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x,
                               const torch::Tensor& weight, double epsilon) {
    const torch::Tensor scale = Scale(x, epsilon);
    context->save_for_backward({x, weight, scale});
    return Normed(x, scale).mul_(weight);
  }

  // y = n w with n = x s: dL/dx = s (g w - n mean(g w n)), dL/dw = sum over rows of g n.
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const torch::autograd::variable_list saved = context->get_saved_variables();
    const torch::Tensor &x = saved[0], &weight = saved[1], &scale = saved[2];
    const torch::Tensor gradient = Widened(gradients[0]);
    const torch::Tensor normed = Widened(x) * scale;
    torch::Tensor to_x, to_weight;
    const torch::Tensor product = gradient * normed;
    if (context->needs_input_grad(1)) {
      to_weight = product.flatten(0, -2).sum(0).to(weight.scalar_type());
    }
    if (context->needs_input_grad(0)) {
      const torch::Tensor wide_weight = Widened(weight);
      const torch::Tensor mean =
          torch::matmul(product, wide_weight.unsqueeze(1)).div_(x.size(-1));  // [.., 1]
      to_x = (gradient * wide_weight).addcmul_(normed, mean, -1).mul_(scale).to(x.scalar_type());
    }
    return {to_x, to_weight, torch::Tensor()};
  }
};

}  // namespace

torch::Tensor RmsNorm(const torch::Tensor& x, const torch::Tensor& weight, double epsilon) {
  if (torch::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad())) {
    return RmsNormFunction::apply(x, weight, epsilon);
  }
  return Normed(x, Scale(x, epsilon)).mul_(weight);
}

}  // namespace dtrpo::model

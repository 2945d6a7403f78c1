#include "common/model/swiglu.h"

#include <torch/autograd.h>
#include <torch/utils.h>

namespace dtrpo::model {
namespace {

struct SwiGluFunction : public torch::autograd::Function<SwiGluFunction> {
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& gate,
                               const torch::Tensor& up) {
    context->save_for_backward({gate, up});
    return torch::silu(gate).mul_(up);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const torch::autograd::variable_list saved = context->get_saved_variables();
    const torch::Tensor &gate = saved[0], &up = saved[1], &gradient = gradients[0];
    return {at::silu_backward(gradient * up, gate), torch::silu(gate).mul_(gradient)};
  }
};

}  // namespace

torch::Tensor SwiGlu(const torch::Tensor& gate, const torch::Tensor& up) {
  if (torch::GradMode::is_enabled() && (gate.requires_grad() || up.requires_grad())) {
    return SwiGluFunction::apply(gate, up);
  }
  return torch::silu(gate).mul_(up);
}

}  // namespace dtrpo::model

#include <torch/autograd.h>
#include <torch/custom_class.h>
#include <torch/utils.h>

#include <utility>
#include <vector>

#include "common/model/layer.h"

namespace dtrpo::model {
namespace {

// What the backward pass needs besides x. The tensors are leaves, so nothing refers to itself.
struct LayerCall : public torch::CustomClassHolder {
  std::shared_ptr<const ForwardPass> pass;
  int64_t layer = 0;
  LayerWeights weights;
  std::vector<torch::Tensor> trained;  // those of `weights` that need gradients
};

struct RecomputedLayer : public torch::autograd::Function<RecomputedLayer> {
  // `trained` are call->trained, named so that autograd sees them.
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x,
                               const at::TensorList& /*trained*/,
                               const c10::intrusive_ptr<LayerCall>& call) {
    context->save_for_backward({x});
    context->saved_data["call"] = c10::IValue::make_capsule(call);
    return ApplyLayer(*call->pass, call->layer, call->weights, x);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const torch::Tensor x = context->get_saved_variables()[0];
    const auto capsule = context->saved_data["call"].toCapsule();
    const LayerCall& call = static_cast<const LayerCall&>(*capsule);
    const bool to_x = context->needs_input_grad(0);
    torch::autograd::variable_list wanted = call.trained;
    torch::Tensor input, output;
    {
      const torch::AutoGradMode with_graph(true);
      input = x.detach().requires_grad_(to_x);
      output = ApplyLayer(*call.pass, call.layer, call.weights, input);
    }
    if (to_x) wanted.push_back(input);
    torch::autograd::variable_list found =
        torch::autograd::grad({output}, wanted, {gradients[0]}, /*retain_graph=*/false,
                              /*create_graph=*/false, /*allow_unused=*/true);
    torch::autograd::variable_list result(1);
    if (to_x) {
      result[0] = found.back();
      found.pop_back();
    }
    result.insert(result.end(), found.begin(), found.end());
    result.emplace_back();  // the call has no gradient
    return result;
  }
};

}  // namespace

torch::Tensor ApplyLayerRecomputed(const std::shared_ptr<const ForwardPass>& pass, int64_t layer,
                                   const LayerWeights& w, const torch::Tensor& x) {
  auto call = c10::make_intrusive<LayerCall>();
  for (const torch::Tensor& tensor : TensorsOf(w)) {
    if (tensor.requires_grad()) call->trained.push_back(tensor);
  }
  if (!torch::GradMode::is_enabled() || (call->trained.empty() && !x.requires_grad())) {
    return ApplyLayer(*pass, layer, w, x);
  }
  call->pass = pass;
  call->layer = layer;
  call->weights = w;
  return RecomputedLayer::apply(x, at::TensorList(call->trained), call);
}

}  // namespace dtrpo::model

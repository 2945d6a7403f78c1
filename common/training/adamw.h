// Thread safety: one thread at a time.
//
// AdamW with decoupled weight decay (Loshchilov, Hutter, ICLR 2019; torch.optim.AdamW) through
// LibTorch's fused kernel: one pass over each parameter, no temporaries. Its state is a list of
// named tensors, so that a checkpoint is a plain file.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/model/transformer_weights.h"

namespace dtrpo::training {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;  // on matrices only; norms and biases are never decayed
};

using model::NamedTensors;

class AdamW {
 public:
  // Parameters are shared with the model and updated in place.
  AdamW(const NamedTensors& parameters, const AdamWOptions& options);

  // One update by the parameters' gradients; parameters without a gradient are left alone.
  void Step(double learning_rate);
  void ZeroGradients();

  // L2 norm of all gradients; NaN or infinite when one of them is.
  double GradientNorm() const;
  // Scales all gradients by `factor`.
  void ScaleGradients(double factor);

  // "adamw.exp_avg.<name>", "adamw.exp_avg_sq.<name>" and "adamw.steps.<name>": views of the state,
  // not copies.
  NamedTensors State() const;
  // What is trained, as given to the constructor but in another order.
  NamedTensors Parameters() const;
  // DATA_LOSS naming the tensor that is missing or has another shape; the state is then unchanged.
  absl::Status Restore(const NamedTensors& state);

 private:
  // Decayed and undecayed parameters take two fused calls.
  struct Group {
    double weight_decay = 0;
    std::vector<std::string> names;
    std::vector<torch::Tensor> parameters, exp_avg, exp_avg_sq, steps;
  };
  std::vector<torch::Tensor> Gradients() const;

  AdamWOptions options_;
  std::vector<Group> groups_;
};

}  // namespace dtrpo::training

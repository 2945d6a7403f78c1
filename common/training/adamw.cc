#include "common/training/adamw.h"

#include <map>

#include "absl/strings/str_cat.h"

namespace dtrpo::training {
namespace {

constexpr char kFirst[] = "adamw.exp_avg.";
constexpr char kSecond[] = "adamw.exp_avg_sq.";
constexpr char kSteps[] = "adamw.steps.";

}  // namespace

AdamW::AdamW(const NamedTensors& parameters, const AdamWOptions& options)
    : options_(options), groups_(2) {
  groups_[0].weight_decay = options.weight_decay;
  for (const auto& [name, parameter] : parameters) {
    Group& group = groups_[parameter.dim() >= 2 ? 0 : 1];
    group.names.push_back(name);
    group.parameters.push_back(parameter);
    group.exp_avg.push_back(torch::zeros_like(parameter, torch::MemoryFormat::Contiguous).detach());
    group.exp_avg_sq.push_back(
        torch::zeros_like(parameter, torch::MemoryFormat::Contiguous).detach());
    // Beside the parameter, where the fused kernel wants it.
    group.steps.push_back(
        torch::zeros({}, torch::dtype(torch::kFloat32).device(parameter.device())));
  }
}

void AdamW::Step(double learning_rate) {
  torch::NoGradGuard no_grad;
  for (Group& group : groups_) {
    std::vector<torch::Tensor> parameters, gradients, exp_avg, exp_avg_sq, steps;
    for (size_t i = 0; i < group.parameters.size(); ++i) {
      const torch::Tensor& gradient = group.parameters[i].grad();
      if (!gradient.defined()) continue;
      group.steps[i].add_(1);
      parameters.push_back(group.parameters[i]);
      gradients.push_back(gradient);
      exp_avg.push_back(group.exp_avg[i]);
      exp_avg_sq.push_back(group.exp_avg_sq[i]);
      steps.push_back(group.steps[i]);
    }
    if (parameters.empty()) continue;
    at::_fused_adamw_(parameters, gradients, exp_avg, exp_avg_sq, /*max_exp_avg_sqs=*/{}, steps,
                      learning_rate, options_.beta1, options_.beta2, group.weight_decay,
                      options_.epsilon, /*amsgrad=*/false,
                      /*maximize=*/false);
  }
}

void AdamW::ZeroGradients() {
  for (Group& group : groups_) {
    for (torch::Tensor& parameter : group.parameters) parameter.mutable_grad().reset();
  }
}

std::vector<torch::Tensor> AdamW::Gradients() const {
  std::vector<torch::Tensor> gradients;
  for (const Group& group : groups_) {
    for (const torch::Tensor& parameter : group.parameters) {
      if (parameter.grad().defined()) gradients.push_back(parameter.grad());
    }
  }
  return gradients;
}

double AdamW::GradientNorm() const {
  torch::NoGradGuard no_grad;
  const std::vector<torch::Tensor> gradients = Gradients();
  if (gradients.empty()) return 0;
  std::vector<torch::Tensor> norms = at::_foreach_norm(gradients);
  return torch::stack(norms).to(torch::kFloat64).norm().item<double>();
}

void AdamW::ScaleGradients(double factor) {
  torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> gradients = Gradients();
  if (!gradients.empty()) at::_foreach_mul_(gradients, factor);
}

NamedTensors AdamW::Parameters() const {
  NamedTensors parameters;
  for (const Group& group : groups_) {
    for (size_t i = 0; i < group.names.size(); ++i) {
      parameters.emplace_back(group.names[i], group.parameters[i]);
    }
  }
  return parameters;
}

NamedTensors AdamW::State() const {
  NamedTensors state;
  for (const Group& group : groups_) {
    for (size_t i = 0; i < group.names.size(); ++i) {
      state.emplace_back(absl::StrCat(kFirst, group.names[i]), group.exp_avg[i]);
      state.emplace_back(absl::StrCat(kSecond, group.names[i]), group.exp_avg_sq[i]);
      state.emplace_back(absl::StrCat(kSteps, group.names[i]), group.steps[i].view({1}));
    }
  }
  return state;
}

absl::Status AdamW::Restore(const NamedTensors& state) {
  std::map<std::string, torch::Tensor> saved(state.begin(), state.end());
  const NamedTensors own = State();
  for (const auto& [name, tensor] : own) {
    const auto it = saved.find(name);
    if (it == saved.end())
      return absl::DataLossError(absl::StrCat("optimizer state: tensor ", name, " is missing"));
    if (it->second.sizes() != tensor.sizes() || it->second.scalar_type() != tensor.scalar_type()) {
      return absl::DataLossError(
          absl::StrCat("optimizer state: tensor ", name, " has another shape or type"));
    }
  }
  torch::NoGradGuard no_grad;
  for (const auto& [name, tensor] : own) {
    torch::Tensor destination = tensor;
    destination.copy_(saved.at(name));
  }
  return absl::OkStatus();
}

}  // namespace dtrpo::training

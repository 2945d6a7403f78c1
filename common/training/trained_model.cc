#include "common/training/trained_model.h"

#include <torch/autograd.h>
#include <torch/utils.h>

#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/model/torch_boundary.h"

namespace dtrpo::training {

TrainedModel TrainedModel::Of(std::unique_ptr<model::Transformer> full) {
  return TrainedModel(std::move(full), nullptr);
}

absl::StatusOr<TrainedModel> TrainedModel::Create(std::unique_ptr<model::Transformer> full,
                                                  torch::Dtype dtype) {
  if (full->HeadWeight().scalar_type() == dtype) return Of(std::move(full));
  NamedTensors rounded;
  DTRPO_RETURN_IF_ERROR(model::TorchBoundary([&] {
    for (const auto& [name, master] : full->NamedParameters()) {
      rounded.emplace_back(name, master.detach().to(dtype));
    }
  }));
  DTRPO_ASSIGN_OR_RETURN(std::unique_ptr<model::Transformer> copy,
                         model::Transformer::FromTensors(full->descriptor(), std::move(rounded),
                                                         {.dtype = dtype, .requires_grad = true}));
  return TrainedModel(std::move(full), std::move(copy));
}

void TrainedModel::CollectGradients() {
  if (copy_ == nullptr) return;
  torch::NoGradGuard no_grad;
  const NamedTensors& masters = full_->NamedParameters();
  for (size_t i = 0; i < masters.size(); ++i) {
    torch::Tensor& gradient = copy_->NamedParameters()[i].second.mutable_grad();
    if (!gradient.defined()) continue;
    torch::Tensor& sum = masters[i].second.mutable_grad();
    if (sum.defined()) {
      sum.add_(gradient);
    } else {
      sum = gradient.to(masters[i].second.scalar_type());
    }
    gradient.reset();
  }
}

void TrainedModel::UpdateModel() {
  if (copy_ == nullptr) return;
  torch::NoGradGuard no_grad;
  const NamedTensors& masters = full_->NamedParameters();
  for (size_t i = 0; i < masters.size(); ++i) {
    torch::Tensor parameter = copy_->NamedParameters()[i].second;
    parameter.copy_(masters[i].second);
  }
}

absl::Status TrainedModel::RestoreMasters(const NamedTensors& masters) {
  DTRPO_CHECK(has_masters());
  const std::map<std::string, torch::Tensor> saved(masters.begin(), masters.end());
  for (const auto& [name, own] : parameters()) {
    const auto it = saved.find(name);
    if (it == saved.end()) {
      return absl::DataLossError(absl::StrCat("master weights: tensor ", name, " is missing"));
    }
    if (it->second.sizes() != own.sizes() || it->second.scalar_type() != own.scalar_type()) {
      return absl::DataLossError(
          absl::StrCat("master weights: tensor ", name, " has another shape or type"));
    }
  }
  torch::NoGradGuard no_grad;
  for (const auto& [name, own] : parameters()) {
    torch::Tensor destination = own;
    destination.copy_(saved.at(name));
  }
  UpdateModel();
  return absl::OkStatus();
}

}  // namespace dtrpo::training

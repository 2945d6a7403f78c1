#include "common/training/trained_model.h"

#include <torch/autograd.h>
#include <torch/utils.h>

#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/checkpoint_tensors.h"
#include "common/model/device.h"
#include "common/model/torch_boundary.h"

namespace dtrpo::training {

namespace {

// The tensor in float32, a copy of its own.
absl::StatusOr<torch::Tensor> ReadMaster(const checkpoint::CheckpointFolder& folder,
                                         const std::string& name) {
  DTRPO_ASSIGN_OR_RETURN(const checkpoint::TensorView view, folder.Tensor(name));
  DTRPO_ASSIGN_OR_RETURN(const torch::Dtype dtype,
                         model::ParseDtype(checkpoint::DTypeName(view.dtype)));
  DTRPO_ASSIGN_OR_RETURN(const torch::Tensor stored,
                         model::BorrowTensor(view.data, view.shape, dtype, nullptr));
  return stored.to(torch::kFloat32, /*non_blocking=*/false, /*copy=*/true);
}

// Handles of those of the model's tensors that are trained.
NamedTensors TrainedOf(const model::Transformer& model) {
  NamedTensors trained;
  for (const NamedTensors* tensors : {&model.NamedParameters(), &model.NamedAdapters()}) {
    for (const auto& named : *tensors) {
      if (named.second.requires_grad()) trained.push_back(named);
    }
  }
  return trained;
}

}  // namespace

model::TrainedParts TrainedPartsOf(const job::JobSpec& spec) {
  const job::LoraSpec& lora = spec.training.lora;
  return {.patterns = spec.training.trainable,
          .lora = {.rank = lora.rank, .alpha = lora.alpha, .targets = lora.targets},
          .seed = spec.seed};
}

TrainingOptions TrainingOptionsOf(const job::JobSpec& spec, torch::Dtype dtype) {
  return {.dtype = dtype,
          .parts = TrainedPartsOf(spec),
          .recompute_activations = spec.training.activation_checkpointing};
}

TrainedModel TrainedModel::Of(std::unique_ptr<model::Transformer> full) {
  TrainedModel trained;
  trained.trained_ = TrainedOf(*full);
  trained.model_ = std::move(full);
  return trained;
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
                         model::Transformer::FromTensors(
                             full->descriptor(), std::move(rounded),
                             {.dtype = dtype, .requires_grad = true, .device = full->device()}));
  TrainedModel trained = Of(std::move(copy));
  trained.masters_ = full->NamedParameters();
  return trained;
}

absl::StatusOr<TrainedModel> TrainedModel::Load(const checkpoint::CheckpointFolder& folder,
                                                const TrainingOptions& options) {
  if (options.parts.all()) {
    DTRPO_ASSIGN_OR_RETURN(
        std::unique_ptr<model::Transformer> full,
        model::Transformer::Load(folder, {.requires_grad = true, .device = options.device}));
    DTRPO_ASSIGN_OR_RETURN(TrainedModel trained, Create(std::move(full), options.dtype));
    trained.model_->set_recompute_activations(options.recompute_activations);
    return trained;
  }
  DTRPO_ASSIGN_OR_RETURN(
      const std::unique_ptr<model::Transformer> base,
      model::Transformer::Load(folder, {.dtype = options.dtype, .device = options.device}));
  return model::TorchBoundary([&]() -> absl::StatusOr<TrainedModel> {
    DTRPO_ASSIGN_OR_RETURN(const NamedTensors initial, TrainedTensors(*base, options.parts));
    NamedTensors computing, masters;
    for (const auto& [name, begun] : initial) {
      const torch::Tensor tensor = model::ToDevice(begun, options.device);
      computing.emplace_back(name, tensor.to(options.dtype, /*non_blocking=*/false, /*copy=*/true));
      if (options.dtype == torch::kFloat32) continue;
      torch::Tensor master = tensor;  // an adapter begins in float32
      if (!model::IsAdapter(name)) {
        DTRPO_ASSIGN_OR_RETURN(master, ReadMaster(folder, name));
        master = model::ToDevice(master, options.device);
      }
      masters.emplace_back(name, master.requires_grad_());
    }
    const bool adapters = options.parts.lora.rank > 0;
    DTRPO_ASSIGN_OR_RETURN(
        std::unique_ptr<model::Transformer> model,
        model::Transformer::Variant(
            *base, computing,
            {.adapter_scale = adapters ? options.parts.lora.scale() : 0, .requires_grad = true}));
    TrainedModel trained = Of(std::move(model));
    trained.masters_ = std::move(masters);
    trained.frozen_sha256_ = FrozenChecksum(*base, initial);
    trained.model_->set_recompute_activations(options.recompute_activations);
    return trained;
  });
}

void TrainedModel::CollectGradients() {
  torch::NoGradGuard no_grad;
  for (size_t i = 0; i < masters_.size(); ++i) {
    torch::Tensor& gradient = trained_[i].second.mutable_grad();
    if (!gradient.defined()) continue;
    torch::Tensor& sum = masters_[i].second.mutable_grad();
    if (sum.defined()) {
      sum.add_(gradient);
    } else {
      sum = gradient.to(masters_[i].second.scalar_type());
    }
    gradient.reset();
  }
}

void TrainedModel::UpdateModel() {
  torch::NoGradGuard no_grad;
  for (size_t i = 0; i < masters_.size(); ++i) {
    trained_[i].second.copy_(masters_[i].second);
  }
}

absl::Status TrainedModel::RestoreMasters(const NamedTensors& masters) {
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

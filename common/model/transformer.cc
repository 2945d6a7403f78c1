#include "common/model/transformer.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/attention_plan.h"
#include "common/model/checkpoint_tensors.h"
#include "common/model/device.h"
#include "common/model/head.h"
#include "common/model/layer.h"
#include "common/model/lora.h"
#include "common/model/rms_norm.h"
#include "common/model/rotary.h"
#include "common/model/torch_boundary.h"

namespace dtrpo::model {

using checkpoint::ModelDescriptor;

KvCache::KvCache(const ModelDescriptor& descriptor, int64_t capacity_rows,
                 const torch::TensorOptions& options)
    : capacity_rows_(capacity_rows) {
  for (int64_t layer = 0; layer < descriptor.num_layers; ++layer) {
    const std::vector<int64_t> shape = {capacity_rows, descriptor.num_key_value_heads,
                                        descriptor.head_dim};
    keys_.push_back(torch::empty(shape, options));  // nobody reads a row before it is written
    values_.push_back(torch::empty(shape, options));
  }
}

int64_t KvCache::RowBytes(const ModelDescriptor& descriptor, torch::Dtype dtype) {
  return 2 * descriptor.num_layers * descriptor.num_key_value_heads * descriptor.head_dim *
         static_cast<int64_t>(c10::elementSize(dtype));
}

Transformer::Transformer(ModelDescriptor descriptor, TransformerWeights weights,
                         const LoadOptions& options)
    : descriptor_(std::move(descriptor)), weights_(std::move(weights)) {
  for (Parameter& parameter : ParametersOf(descriptor_, weights_)) {
    *parameter.tensor = ToDevice(*parameter.tensor, options.device);
    if (options.requires_grad) *parameter.tensor = parameter.tensor->detach().requires_grad_();
    named_.emplace_back(std::move(parameter.name), *parameter.tensor);
  }
  for (const AdapterPlace& place : AdaptersOf(descriptor_, weights_)) {
    if (!place.adapter->a.defined()) continue;
    adapters_.emplace_back(absl::StrCat(place.module, kLoraA), place.adapter->a);
    adapters_.emplace_back(absl::StrCat(place.module, kLoraB), place.adapter->b);
  }
  if (descriptor_.tie_word_embeddings) weights_.head = weights_.embedding;
}

absl::StatusOr<std::unique_ptr<Transformer>> Transformer::Load(
    const checkpoint::CheckpointFolder& folder, const LoadOptions& options) {
  // The tensors keep this copy, and so the mapped files, alive.
  const auto owner = std::make_shared<const checkpoint::CheckpointFolder>(folder);
  NamedTensors tensors;
  for (const std::string& name : owner->TensorNames()) {
    const checkpoint::TensorView& view = *owner->Find(name);
    const std::string what = absl::StrCat(folder.tensor_source(), ": tensor ", name);
    DTRPO_ASSIGN_OR_RETURN(const torch::Dtype dtype,
                           base::Annotate(ParseDtype(checkpoint::DTypeName(view.dtype)), what));
    DTRPO_ASSIGN_OR_RETURN(torch::Tensor tensor,
                           base::Annotate(BorrowTensor(view.data, view.shape, dtype, owner), what));
    // Trained parameters are written to, which a mapped file can't be. Copies are made one by one
    // and their originals let go, so that loading never needs both in memory.
    // Likewise for a device's memory.
    const bool placed_elsewhere = !options.device.is_cpu();
    if (dtype != options.dtype || options.requires_grad || placed_elsewhere) {
      DTRPO_RETURN_IF_ERROR(TorchBoundary([&] {
        const bool copy = !placed_elsewhere;
        tensor = ToDevice(tensor.to(options.dtype, /*non_blocking=*/false, copy), options.device);
      }));
      owner->ReleasePages(view);
    }
    tensors.emplace_back(name, std::move(tensor));
  }
  return TorchBoundary([&]() -> absl::StatusOr<std::unique_ptr<Transformer>> {
    DTRPO_ASSIGN_OR_RETURN(
        TransformerWeights weights,
        AssembleWeights(folder.descriptor(), tensors, options.dtype, folder.tensor_source()));
    return std::unique_ptr<Transformer>(
        new Transformer(folder.descriptor(), std::move(weights), options));
  });
}

absl::StatusOr<std::unique_ptr<Transformer>> Transformer::FromTensors(
    const ModelDescriptor& descriptor, NamedTensors tensors, const LoadOptions& options) {
  DTRPO_RETURN_IF_ERROR(checkpoint::Validate(descriptor));
  return TorchBoundary([&]() -> absl::StatusOr<std::unique_ptr<Transformer>> {
    DTRPO_ASSIGN_OR_RETURN(TransformerWeights weights,
                           AssembleWeights(descriptor, tensors, options.dtype, "weights"));
    return std::unique_ptr<Transformer>(new Transformer(descriptor, std::move(weights), options));
  });
}

absl::StatusOr<std::unique_ptr<Transformer>> Transformer::Random(const ModelDescriptor& descriptor,
                                                                 uint64_t seed,
                                                                 const LoadOptions& options) {
  DTRPO_RETURN_IF_ERROR(checkpoint::Validate(descriptor));
  return TorchBoundary([&] {
    return std::unique_ptr<Transformer>(
        new Transformer(descriptor, RandomWeights(descriptor, seed, options.dtype), options));
  });
}

absl::StatusOr<std::unique_ptr<Transformer>> Transformer::Variant(const Transformer& base,
                                                                  const NamedTensors& tensors,
                                                                  const VariantOptions& options) {
  return TorchBoundary([&]() -> absl::StatusOr<std::unique_ptr<Transformer>> {
    TransformerWeights weights = base.weights_;
    weights.adapter_scale = options.adapter_scale;
    DTRPO_RETURN_IF_ERROR(
        ReplaceTensors(base.descriptor_, tensors, options.requires_grad, weights));
    return std::unique_ptr<Transformer>(
        new Transformer(base.descriptor_, std::move(weights), {.device = base.device()}));
  });
}

NamedTensors Transformer::MergedParameters() const {
  NamedTensors merged = named_;
  if (adapters_.empty()) return merged;
  std::map<std::string, torch::Tensor> matrices;
  TransformerWeights weights = weights_;  // handles
  for (const AdapterPlace& place : AdaptersOf(descriptor_, weights)) {
    matrices[absl::StrCat(place.module, ".weight")] =
        Merged(*place.weight, *place.adapter, weights_.adapter_scale);
  }
  for (auto& [name, tensor] : merged) {
    const auto it = matrices.find(name);
    if (it != matrices.end()) tensor = it->second;
  }
  return merged;
}

torch::Tensor Transformer::Forward(const RowBatch& batch, KvCache* cache) const {
  const torch::Device device = weights_.embedding.device();
  AttentionPlan plan = AttentionPlan::Build(batch, cache == nullptr ? -1 : cache->capacity_rows(),
                                            descriptor_.vocab_size, device);
  Rotary rotary(plan.positions, descriptor_.head_dim, descriptor_.rope_theta,
                weights_.embedding.scalar_type());
  // Shared with the backward pass where that computes layers again.
  const auto pass = std::make_shared<const ForwardPass>(
      ForwardPass{descriptor_, std::move(plan), std::move(rotary), cache, weights_.adapter_scale});
  torch::Tensor x = torch::embedding(weights_.embedding, pass->plan.token_ids);
  for (int64_t layer = 0; layer < descriptor_.num_layers; ++layer) {
    const LayerWeights& weights = weights_.layers[layer];
    x = recompute_activations_ && cache == nullptr
            ? ApplyLayerRecomputed(pass, layer, weights, x)
            : ApplyLayer(*pass, layer, weights, std::move(x));
  }
  x = RmsNorm(x, weights_.final_norm, descriptor_.rms_norm_eps);
  return pass->plan.restore.defined() ? x.index_select(0, pass->plan.restore) : x;
}

torch::Tensor Transformer::Head(const torch::Tensor& hidden) const {
  return HeadLogits(hidden, weights_.head);
}

std::vector<torch::Tensor> Transformer::Parameters() const {
  std::vector<torch::Tensor> parameters;
  for (const auto& [name, tensor] : named_) parameters.push_back(tensor);
  return parameters;
}

}  // namespace dtrpo::model

#include "common/model/transformer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/attention.h"
#include "common/model/attention_plan.h"
#include "common/model/checkpoint_tensors.h"
#include "common/model/head.h"
#include "common/model/rms_norm.h"
#include "common/model/rotary.h"
#include "common/model/torch_boundary.h"

namespace dtrpo::model {
namespace {

using checkpoint::ModelDescriptor;

// What the layers of one forward share.
struct ForwardPass {
  const ModelDescriptor& descriptor;
  AttentionPlan plan;
  Rotary rotary;
  KvCache* cache;  // null: keys are this batch's own rows
};

// x W^T, with a bias if there is one.
torch::Tensor Linear(const torch::Tensor& x, const torch::Tensor& weight,
                     const torch::Tensor& bias) {
  return bias.defined() ? torch::addmm(bias, x, weight.t()) : torch::mm(x, weight.t());
}

// normed [R, D] -> its keys and values, or the cache that now holds them too, [rows, G, E].
std::pair<torch::Tensor, torch::Tensor> KeysAndValues(const ForwardPass& pass, int64_t layer,
                                                      const LayerWeights& w,
                                                      const torch::Tensor& normed) {
  const ModelDescriptor& d = pass.descriptor;
  const int64_t R = normed.size(0), G = d.num_key_value_heads, E = d.head_dim;
  torch::Tensor keys = Linear(normed, w.key, w.key_bias).view({R, G, E});
  const torch::Tensor values = Linear(normed, w.value, w.value_bias).view({R, G, E});
  if (d.qk_norm) keys = RmsNorm(keys, w.key_norm, d.rms_norm_eps);
  keys = pass.rotary.Apply(keys);
  if (pass.cache == nullptr) return {keys, values};
  return {pass.cache->keys(layer).index_copy_(0, pass.plan.cache_rows, keys),
          pass.cache->values(layer).index_copy_(0, pass.plan.cache_rows, values)};
}

// normed [r, D] -> [r, H, E].
torch::Tensor Queries(const ModelDescriptor& d, const LayerWeights& w, const torch::Tensor& normed,
                      const Rotary& rotary) {
  torch::Tensor queries =
      Linear(normed, w.query, w.query_bias).view({normed.size(0), d.num_heads, d.head_dim});
  if (d.qk_norm) queries = RmsNorm(queries, w.query_norm, d.rms_norm_eps);
  return rotary.Apply(queries);
}

// x [R, D] -> [R, D]; the last layer: -> [r, D], the output rows.
torch::Tensor ApplyLayer(const ForwardPass& pass, int64_t layer, const LayerWeights& w,
                         torch::Tensor x) {
  const ModelDescriptor& d = pass.descriptor;
  const AttentionPlan& plan = pass.plan;
  torch::Tensor normed = RmsNorm(x, w.attention_norm, d.rms_norm_eps);
  const auto [keys, values] = KeysAndValues(pass, layer, w, normed);
  torch::Tensor attended;
  if (layer == d.num_layers - 1 && plan.last_rows.defined()) {
    x = x.index_select(0, plan.last_rows);
    if (x.size(0) == 0) return x;
    normed = normed.index_select(0, plan.last_rows);
    attended = Attend(plan.last_groups, Queries(d, w, normed, pass.rotary.Rows(plan.last_rows)),
                      keys, values);
  } else {
    attended = Attend(plan.groups, Queries(d, w, normed, pass.rotary), keys, values);
  }
  const torch::Tensor middle = torch::addmm(x, attended, w.output.t());
  normed = RmsNorm(middle, w.feed_forward_norm, d.rms_norm_eps);
  const torch::Tensor gated =
      torch::silu(torch::mm(normed, w.gate.t())) * torch::mm(normed, w.up.t());
  return torch::addmm(middle, gated, w.down.t());
}

}  // namespace

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

Transformer::Transformer(ModelDescriptor descriptor, TransformerWeights weights, bool requires_grad)
    : descriptor_(std::move(descriptor)), weights_(std::move(weights)) {
  for (Parameter& parameter : ParametersOf(descriptor_, weights_)) {
    if (requires_grad) *parameter.tensor = parameter.tensor->detach().requires_grad_();
    named_.emplace_back(std::move(parameter.name), *parameter.tensor);
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
    if (dtype != options.dtype || options.requires_grad) {
      DTRPO_RETURN_IF_ERROR(TorchBoundary(
          [&] { tensor = tensor.to(options.dtype, /*non_blocking=*/false, /*copy=*/true); }));
      owner->ReleasePages(view);
    }
    tensors.emplace_back(name, std::move(tensor));
  }
  return TorchBoundary([&]() -> absl::StatusOr<std::unique_ptr<Transformer>> {
    DTRPO_ASSIGN_OR_RETURN(
        TransformerWeights weights,
        AssembleWeights(folder.descriptor(), tensors, options.dtype, folder.tensor_source()));
    return std::unique_ptr<Transformer>(
        new Transformer(folder.descriptor(), std::move(weights), options.requires_grad));
  });
}

absl::StatusOr<std::unique_ptr<Transformer>> Transformer::FromTensors(
    const ModelDescriptor& descriptor, NamedTensors tensors, const LoadOptions& options) {
  DTRPO_RETURN_IF_ERROR(checkpoint::Validate(descriptor));
  return TorchBoundary([&]() -> absl::StatusOr<std::unique_ptr<Transformer>> {
    DTRPO_ASSIGN_OR_RETURN(TransformerWeights weights,
                           AssembleWeights(descriptor, tensors, options.dtype, "weights"));
    return std::unique_ptr<Transformer>(
        new Transformer(descriptor, std::move(weights), options.requires_grad));
  });
}

absl::StatusOr<std::unique_ptr<Transformer>> Transformer::Random(const ModelDescriptor& descriptor,
                                                                 uint64_t seed,
                                                                 const LoadOptions& options) {
  DTRPO_RETURN_IF_ERROR(checkpoint::Validate(descriptor));
  return TorchBoundary([&] {
    return std::unique_ptr<Transformer>(new Transformer(
        descriptor, RandomWeights(descriptor, seed, options.dtype), options.requires_grad));
  });
}

torch::Tensor Transformer::Forward(const RowBatch& batch, KvCache* cache) const {
  const torch::Device device = weights_.embedding.device();
  AttentionPlan plan = AttentionPlan::Build(batch, cache == nullptr ? -1 : cache->capacity_rows(),
                                            descriptor_.vocab_size, device);
  Rotary rotary(plan.positions, descriptor_.head_dim, descriptor_.rope_theta,
                weights_.embedding.scalar_type());
  const ForwardPass pass{descriptor_, std::move(plan), std::move(rotary), cache};
  torch::Tensor x = torch::embedding(weights_.embedding, pass.plan.token_ids);
  for (int64_t layer = 0; layer < descriptor_.num_layers; ++layer) {
    x = ApplyLayer(pass, layer, weights_.layers[layer], std::move(x));
  }
  x = RmsNorm(x, weights_.final_norm, descriptor_.rms_norm_eps);
  return pass.plan.restore.defined() ? x.index_select(0, pass.plan.restore) : x;
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

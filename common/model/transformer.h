// Thread safety: const methods may run on many threads at once while nobody changes the parameters;
// each KvCache belongs to one thread at a time. Parameters are shared_ptr-like tensors: the
// Transformer owns them.
//
// Decoder-only transformer of the Qwen2 / Qwen3 / LLaDA kind (RMSNorm, rotary positions,
// grouped-query attention, SwiGLU), with the differences as data in ModelDescriptor. Reference
// implementation: transformers' modeling_qwen2.py; attention by blocks after Fast-dLLM-v2's
// modeling.py.
//
// Letters: R rows, D hidden, H heads, G key/value heads, E head dim, V vocabulary, L layers.
#pragma once

#include <torch/types.h>

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/checkpoint/model_descriptor.h"
#include "common/model/row_batch.h"
#include "common/model/transformer_weights.h"

namespace dtrpo::model {

// Keys and values of finished rows of any number of sequences, per layer [capacity_rows, G, E].
// Which rows belong to whom is the caller's business. Made in the grad mode it is used in.
class KvCache {
 public:
  // `options`: dtype and device, those of the model.
  KvCache(const checkpoint::ModelDescriptor& descriptor, int64_t capacity_rows,
          const torch::TensorOptions& options);
  // What a row takes, over all layers.
  static int64_t RowBytes(const checkpoint::ModelDescriptor& descriptor, torch::Dtype dtype);
  int64_t capacity_rows() const { return capacity_rows_; }
  torch::Tensor& keys(int64_t layer) { return keys_[layer]; }      // [capacity_rows, G, E]
  torch::Tensor& values(int64_t layer) { return values_[layer]; }  // [capacity_rows, G, E]

 private:
  int64_t capacity_rows_;
  std::vector<torch::Tensor> keys_, values_;
};

struct LoadOptions {
  torch::Dtype dtype = torch::kFloat32;
  bool requires_grad = false;
  torch::Device device = torch::kCPU;  // weights elsewhere are copies
};

struct VariantOptions {
  double adapter_scale = 0;    // alpha / rank, where there are adapters
  bool requires_grad = false;  // the given tensors do, the shared ones don't
};

class Transformer {
 public:
  // Reads every tensor the architecture needs. All missing, unexpected, misshapen and non-finite
  // tensors are named in one INVALID_ARGUMENT. Without requires_grad tensors of the wanted dtype
  // are views of the mapped files and must not be written to; with it, and in another dtype, they
  // are copies. Either way at most 1.15 times the weights' bytes, as computed, are resident.
  static absl::StatusOr<std::unique_ptr<Transformer>> Load(
      const checkpoint::CheckpointFolder& folder, const LoadOptions& options);
  // From named tensors (weights that arrived over the network, tests), checked likewise. Tensors of
  // the wanted dtype, and on the wanted device, are used as they are, not copied: they share memory
  // with the parameters.
  static absl::StatusOr<std::unique_ptr<Transformer>> FromTensors(
      const checkpoint::ModelDescriptor& descriptor, NamedTensors tensors,
      const LoadOptions& options);
  // Random weights, normal(0, initializer_range) and ones for norms (the start of `dtrpo sft
  // --init`): a pure function of descriptor and seed.
  static absl::StatusOr<std::unique_ptr<Transformer>> Random(
      const checkpoint::ModelDescriptor& descriptor, uint64_t seed, const LoadOptions& options);

  // `base` with these tensors in the place of its own of that name, or beside them where they are
  // adapters (lora.h); all others are shared, and nothing is copied. INVALID_ARGUMENT naming the
  // tensor that the model has no place for, that has another shape or type, or isn't finite, and
  // the adapter whose other half is missing. REQUIRES: `base` has no adapters.
  static absl::StatusOr<std::unique_ptr<Transformer>> Variant(const Transformer& base,
                                                              const NamedTensors& tensors,
                                                              const VariantOptions& options);

  // Forward() then keeps each layer's input only, and the backward pass computes the layers again
  // (layer.h). Not while somebody uses the model.
  void set_recompute_activations(bool recompute) { recompute_activations_ = recompute; }

  const checkpoint::ModelDescriptor& descriptor() const { return descriptor_; }

  // Final-normed hidden states of the batch's output rows, [r, D]. With `cache`, batch.cache_rows
  // is set and the cache is written; gradients then don't reach what it holds, so turn them off.
  // Throws c10::Error for a batch that makes no sense; callers in other rooms go through
  // torch_boundary.h.
  torch::Tensor Forward(const RowBatch& batch, KvCache* cache = nullptr) const;

  // Logits of chosen rows, hidden [r, D] -> [r, V].
  torch::Tensor Head(const torch::Tensor& hidden) const;
  torch::Tensor HeadWeight() const { return weights_.head; }  // [V, D]
  torch::Dtype dtype() const { return weights_.embedding.scalar_type(); }
  torch::Device device() const { return weights_.embedding.device(); }

  // Parameters in checkpoint order under the checkpoint's own names; a tied head appears once, as
  // the embedding.
  const NamedTensors& NamedParameters() const { return named_; }
  std::vector<torch::Tensor> Parameters() const;
  // Beside them, in the same order, A before B; empty: none.
  const NamedTensors& NamedAdapters() const { return adapters_; }
  double adapter_scale() const { return weights_.adapter_scale; }
  // The parameters with the adapters added in, which are new tensors; the others are the model's.
  NamedTensors MergedParameters() const;

 private:
  Transformer(checkpoint::ModelDescriptor descriptor, TransformerWeights weights,
              const LoadOptions& options);

  const checkpoint::ModelDescriptor descriptor_;
  TransformerWeights weights_;
  NamedTensors named_, adapters_;
  bool recompute_activations_ = false;
};

}  // namespace dtrpo::model

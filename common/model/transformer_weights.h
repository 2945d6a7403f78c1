// Thread safety: plain data.
//
// The tensors of a transformer by the part they play, and the table that gives each its name in a
// checkpoint and its shape. Another family with the same arithmetic is another column of the table.
//
// Letters: D hidden, H heads, G key/value heads, E head dim, F feed-forward width, V vocabulary.
#pragma once

#include <torch/types.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/checkpoint/model_descriptor.h"

namespace dtrpo::model {

using NamedTensors = std::vector<std::pair<std::string, torch::Tensor>>;

// A low-rank addition to the projection of the same name (lora.h).
struct Adapter {
  torch::Tensor a, b;  // [rank, in], [out, rank]; both undefined: none
};

struct LayerWeights {
  torch::Tensor attention_norm;                    // [D]
  torch::Tensor query, key, value;                 // [H*E, D], [G*E, D], [G*E, D]
  torch::Tensor query_bias, key_bias, value_bias;  // undefined without qkv_bias
  torch::Tensor query_norm, key_norm;              // [E], undefined without qk_norm
  torch::Tensor output;                            // [D, H*E]
  torch::Tensor feed_forward_norm;                 // [D]
  torch::Tensor gate, up, down;                    // [F, D], [F, D], [D, F]
  Adapter query_adapter, key_adapter, value_adapter, output_adapter;
  Adapter gate_adapter, up_adapter, down_adapter;
};

struct TransformerWeights {
  torch::Tensor embedding;  // [V, D]
  std::vector<LayerWeights> layers;
  torch::Tensor final_norm;  // [D]
  torch::Tensor head;        // [V, D]; the embedding itself when tied
  double adapter_scale = 0;  // alpha / rank
};

// One tensor of a checkpoint and where it goes.
struct Parameter {
  std::string name;
  std::vector<int64_t> shape;
  torch::Tensor* tensor;  // borrowed from the TransformerWeights
};

// In checkpoint order. Makes the layers of `weights`; a tied head is not among them.
std::vector<Parameter> ParametersOf(const checkpoint::ModelDescriptor& descriptor,
                                    TransformerWeights& weights);

// A projection of a layer, and where its adapter goes.
struct AdapterPlace {
  std::string module;  // "model.layers.0.self_attn.q_proj"; its matrix is "<module>.weight"
  int64_t out, in;
  torch::Tensor* weight;  // borrowed from the TransformerWeights, as is
  Adapter* adapter;
};

// In checkpoint order. Makes the layers of `weights`.
std::vector<AdapterPlace> AdaptersOf(const checkpoint::ModelDescriptor& descriptor,
                                     TransformerWeights& weights);

// All tensors of a layer that are defined, adapters included, in a fixed order.
std::vector<torch::Tensor> TensorsOf(const LayerWeights& layer);

// Whether every number is finite; one pass, no copy. Meta tensors have no numbers.
bool AllFinite(const torch::Tensor& tensor);

// Puts the named tensors in their places, converted to `dtype` where they differ. Every missing,
// unexpected, misshapen and non-finite tensor is named in one INVALID_ARGUMENT that begins with
// `source`. A tied checkpoint may repeat its embedding as the head's tensor, as `transformers`
// allows.
absl::StatusOr<TransformerWeights> AssembleWeights(const checkpoint::ModelDescriptor& descriptor,
                                                   const NamedTensors& tensors, torch::Dtype dtype,
                                                   absl::string_view source);

// Puts each tensor, of the model's dtype, in its place in `weights`, which are complete, and on
// their device: the one of its name is replaced, an adapter (lora.h) comes beside its matrix. With
// `requires_grad` those put there require gradients, as new handles of the same memory.
// INVALID_ARGUMENT naming all that have no place, another shape or dtype, NaN or infinite numbers,
// and adapters without their other half.
absl::Status ReplaceTensors(const checkpoint::ModelDescriptor& descriptor,
                            const NamedTensors& tensors, bool requires_grad,
                            TransformerWeights& weights);

// normal(0, initializer_range) for matrices, ones for norms, zeros for biases. Each tensor is a
// function of (seed, its name) alone and doesn't change with LibTorch's version.
TransformerWeights RandomWeights(const checkpoint::ModelDescriptor& descriptor, uint64_t seed,
                                 torch::Dtype dtype);

}  // namespace dtrpo::model

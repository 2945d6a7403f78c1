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

struct LayerWeights {
  torch::Tensor attention_norm;                    // [D]
  torch::Tensor query, key, value;                 // [H*E, D], [G*E, D], [G*E, D]
  torch::Tensor query_bias, key_bias, value_bias;  // undefined without qkv_bias
  torch::Tensor query_norm, key_norm;              // [E], undefined without qk_norm
  torch::Tensor output;                            // [D, H*E]
  torch::Tensor feed_forward_norm;                 // [D]
  torch::Tensor gate, up, down;                    // [F, D], [F, D], [D, F]
};

struct TransformerWeights {
  torch::Tensor embedding;  // [V, D]
  std::vector<LayerWeights> layers;
  torch::Tensor final_norm;  // [D]
  torch::Tensor head;        // [V, D]; the embedding itself when tied
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

// Puts the named tensors in their places, converted to `dtype` where they differ. Every missing,
// unexpected, misshapen and non-finite tensor is named in one INVALID_ARGUMENT that begins with
// `source`. A tied checkpoint may repeat its embedding as the head's tensor, as `transformers`
// allows.
absl::StatusOr<TransformerWeights> AssembleWeights(const checkpoint::ModelDescriptor& descriptor,
                                                   const NamedTensors& tensors, torch::Dtype dtype,
                                                   absl::string_view source);

// normal(0, initializer_range) for matrices, ones for norms, zeros for biases. Each tensor is a
// function of (seed, its name) alone and doesn't change with LibTorch's version.
TransformerWeights RandomWeights(const checkpoint::ModelDescriptor& descriptor, uint64_t seed,
                                 torch::Dtype dtype);

}  // namespace dtrpo::model

// Thread safety: immutable after construction.
//
// Rotary positions in GPT-NeoX's layout: element e turns with element e + E/2 by the angle
// position * theta^(-2e/E). Angles are computed in float32 like transformers' Qwen2RotaryEmbedding,
// whose rounding the published models were trained with.
#pragma once

#include <torch/types.h>

#include <utility>

namespace dtrpo::model {

class Rotary {
 public:
  // positions [R] int64. Sines and cosines are made once here and shared by all layers.
  Rotary(const torch::Tensor& positions, int64_t head_dim, double theta, torch::Dtype dtype);

  // x [R, heads, E] -> the same shape, turned.
  torch::Tensor Apply(const torch::Tensor& x) const;

  // For some of the rows, index [r].
  Rotary Rows(const torch::Tensor& index) const;

 private:
  Rotary(torch::Tensor cos, torch::Tensor signed_sin)
      : cos_(std::move(cos)), signed_sin_(std::move(signed_sin)) {}

  torch::Tensor cos_;         // [R, 1, E]
  torch::Tensor signed_sin_;  // [R, 1, E], its first half negated
};

}  // namespace dtrpo::model

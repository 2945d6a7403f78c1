// Thread safety: const; share freely.
//
// Proposes one token per row of logits. Temperature, top-k and top-p (in this order, as in
// transformers) only choose the token; its log-probability and confidence are of the untempered
// distribution over the full vocabulary without the mask token. Each row has its own uniform
// number and its own filters: rows don't influence one another.
//
// Letters: r rows, V vocabulary.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/diffusion/sequence_state.h"

namespace dtrpo::diffusion {

struct TokenSamplerOptions {
  double temperature = 0;  // 0: argmax
  double top_p = 1;        // 1: off
  int32_t top_k = 0;       // 0: off
  int32_t mask_id = 0;     // never proposed
};

struct RowDraw {
  double uniform = 0;   // in [0, 1)
  bool greedy = false;  // argmax whatever the temperature
};

class TokenSampler {
 public:
  explicit TokenSampler(const TokenSamplerOptions& options) : options_(options) {}

  // logits [r, V], any float type and device; draws [r]. Ties go to the lowest id. Non-finite
  // logits show up as a non-finite log-probability. Throws c10::Error (see torch_boundary.h).
  std::vector<Candidate> Pick(const torch::Tensor& logits, absl::Span<const RowDraw> draws) const;

 private:
  // Inverse transform: the first token whose cumulative probability exceeds the row's uniform.
  torch::Tensor Draw(const torch::Tensor& logits, const torch::Tensor& uniforms) const;

  const TokenSamplerOptions options_;
};

}  // namespace dtrpo::diffusion

// Thread safety: const; share freely.
//
// Proposes one token per row of logits. Temperature, top-k and top-p (in this order, as in
// transformers) only choose the token; its log-probability is of the untempered distribution over
// the full vocabulary without the mask token. So are confidence, entropy and margin, unless they
// are asked of the tempered and filtered one, which is the untempered and filtered one at
// temperature 0. Each row has its own uniform number and its own filters: rows don't influence one
// another.
//
// Letters: r rows, V vocabulary.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/diffusion/sequence_state.h"
#include "common/diffusion/unmask_policy.h"

namespace dtrpo::diffusion {

struct TokenSamplerOptions {
  double temperature = 0;  // 0: argmax
  double top_p = 1;        // 1: off
  int32_t top_k = 0;       // 0: off
  int32_t mask_id = 0;     // never proposed
  bool tempered_confidence = false;
  PolicyNeeds needs = {};  // what is filled in beside the confidence
};

struct RowDraw {
  double uniform = 0;   // in [0, 1)
  bool greedy = false;  // argmax whatever the temperature
};

class TokenSampler {
 public:
  explicit TokenSampler(const TokenSamplerOptions& options) : options_(options) {}

  // logits [r, V], any float type and device, overwritten; draws [r]. Ties go to the lowest id.
  // Non-finite logits show up as a non-finite log-probability. Throws c10::Error (see
  // torch_boundary.h).
  std::vector<Candidate> Pick(torch::Tensor logits, absl::Span<const RowDraw> draws) const;

 private:
  // What temperature and filters leave; c columns.
  struct Distribution {
    torch::Tensor probabilities;  // [r, c] float64, not normalised
    torch::Tensor ids;            // [r, c] token of each column; undefined: its index
  };

  Distribution Filter(const torch::Tensor& logits) const;
  void Measure(const Distribution& distribution, const torch::Tensor& tokens,
               std::vector<Candidate>* candidates) const;

  const TokenSamplerOptions options_;
};

}  // namespace dtrpo::diffusion

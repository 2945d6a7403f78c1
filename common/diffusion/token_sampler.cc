#include "common/diffusion/token_sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

namespace dtrpo::diffusion {

std::vector<Candidate> TokenSampler::Pick(const torch::Tensor& logits,
                                          absl::Span<const RowDraw> draws) const {
  const int64_t rows = logits.size(0);
  TORCH_CHECK(rows == static_cast<int64_t>(draws.size()), "one draw per row of logits");
  // A copy even when the logits are float32 already: the mask's column is overwritten.
  torch::Tensor scores = logits.to(torch::kFloat32, /*non_blocking=*/false, /*copy=*/true);
  scores.select(1, options_.mask_id).fill_(-std::numeric_limits<float>::infinity());

  torch::Tensor tokens = scores.argmax(1);  // of equal values the first
  if (options_.temperature > 0) {
    torch::Tensor uniforms = torch::empty({rows, 1}, torch::kFloat64);
    torch::Tensor greedy = torch::empty({rows}, torch::kBool);
    for (int64_t i = 0; i < rows; ++i) {
      uniforms.data_ptr<double>()[i] = draws[i].uniform;
      greedy.data_ptr<bool>()[i] = draws[i].greedy;
    }
    tokens = torch::where(greedy.to(scores.device()), tokens,
                          Draw(scores, uniforms.to(scores.device())));
  }

  const torch::Tensor logprobs =
      scores.gather(1, tokens.unsqueeze(1)).squeeze(1) - scores.logsumexp(1);
  tokens = tokens.cpu();
  const torch::Tensor logprobs_cpu = logprobs.cpu();
  std::vector<Candidate> candidates(rows);
  for (int64_t i = 0; i < rows; ++i) {
    candidates[i].token = static_cast<int32_t>(tokens.data_ptr<int64_t>()[i]);
    candidates[i].logprob = logprobs_cpu.data_ptr<float>()[i];
    candidates[i].confidence = std::exp(candidates[i].logprob);
  }
  return candidates;
}

torch::Tensor TokenSampler::Draw(const torch::Tensor& logits, const torch::Tensor& uniforms) const {
  const int64_t vocabulary = logits.size(1);
  const bool filtered = options_.top_p < 1 || (options_.top_k > 0 && options_.top_k < vocabulary);
  torch::Tensor tempered = logits.to(torch::kFloat64) / options_.temperature;
  torch::Tensor ids;  // [r, V] token of each column; undefined: its index
  if (filtered) {
    std::tie(tempered, ids) = tempered.sort(/*stable=*/true, /*dim=*/1, /*descending=*/true);
    if (options_.top_k > 0) {
      const int64_t kept = std::min<int64_t>(options_.top_k, vocabulary);
      tempered = tempered.narrow(1, 0, kept);
    }
  }
  torch::Tensor probabilities = tempered.softmax(1);
  if (options_.top_p < 1) {
    // Keeps the shortest prefix that reaches top_p: a column stays while those before it don't.
    const torch::Tensor before = probabilities.cumsum(1) - probabilities;
    torch::Tensor outside = before >= options_.top_p;
    outside.select(1, 0).fill_(false);
    probabilities = probabilities.masked_fill(outside, 0);
  }
  const torch::Tensor cumulative = probabilities.cumsum(1).contiguous();
  const torch::Tensor total = cumulative.narrow(1, cumulative.size(1) - 1, 1);
  // Strictly below the total, whatever rounding does: then a column of positive probability is hit.
  const torch::Tensor target = (uniforms * total).minimum(total * (1 - 0x1.0p-50)).contiguous();
  const torch::Tensor column = torch::searchsorted(cumulative, target, /*out_int32=*/false,
                                                   /*right=*/true)
                                   .clamp_max(cumulative.size(1) - 1);
  return (ids.defined() ? ids.gather(1, column) : column).squeeze(1);
}

}  // namespace dtrpo::diffusion

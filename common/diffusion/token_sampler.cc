#include "common/diffusion/token_sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "common/model/device.h"

namespace dtrpo::diffusion {
namespace {

// Inverse transform: the first column whose cumulative probability exceeds the row's uniform.
torch::Tensor DrawColumns(const torch::Tensor& probabilities, const torch::Tensor& uniforms) {
  const torch::Tensor cumulative = probabilities.cumsum(1).contiguous();
  const torch::Tensor total = cumulative.narrow(1, cumulative.size(1) - 1, 1);
  // Strictly below the total, whatever rounding does: then a column of positive probability is hit.
  const torch::Tensor target = (uniforms * total).minimum(total * (1 - 0x1.0p-50)).contiguous();
  return torch::searchsorted(cumulative, target, /*out_int32=*/false, /*right=*/true)
      .clamp_max(cumulative.size(1) - 1);
}

void Store(const torch::Tensor& values, float Candidate::*field,
           std::vector<Candidate>* candidates) {
  const torch::Tensor floats = values.to(torch::kFloat32).cpu().contiguous();
  for (size_t i = 0; i < candidates->size(); ++i) {
    (*candidates)[i].*field = floats.data_ptr<float>()[i];
  }
}

}  // namespace

std::vector<Candidate> TokenSampler::Pick(torch::Tensor logits,
                                          absl::Span<const RowDraw> draws) const {
  const int64_t rows = logits.size(0);
  TORCH_CHECK(rows == static_cast<int64_t>(draws.size()), "one draw per row of logits");
  torch::Tensor scores = logits.to(torch::kFloat32);
  scores.select(1, options_.mask_id).fill_(-std::numeric_limits<float>::infinity());

  Distribution filtered;
  if (options_.temperature > 0 || options_.tempered_confidence) filtered = Filter(scores);

  torch::Tensor tokens = scores.argmax(1);  // of equal values the first
  if (options_.temperature > 0) {
    torch::Tensor uniforms = torch::empty({rows, 1}, torch::kFloat64);
    torch::Tensor greedy = torch::empty({rows}, torch::kBool);
    for (int64_t i = 0; i < rows; ++i) {
      uniforms.data_ptr<double>()[i] = draws[i].uniform;
      greedy.data_ptr<bool>()[i] = draws[i].greedy;
    }
    const torch::Tensor columns =
        DrawColumns(filtered.probabilities, model::ToDevice(uniforms, scores.device()));
    const torch::Tensor drawn = filtered.ids.defined() ? filtered.ids.gather(1, columns) : columns;
    tokens = torch::where(model::ToDevice(greedy, scores.device()), tokens, drawn.squeeze(1));
  }

  std::vector<Candidate> candidates(rows);
  const torch::Tensor tokens_cpu = tokens.cpu();
  for (int64_t i = 0; i < rows; ++i) {
    candidates[i].token = static_cast<int32_t>(tokens_cpu.data_ptr<int64_t>()[i]);
  }
  const torch::Tensor logprobs =
      scores.gather(1, tokens.unsqueeze(1)).squeeze(1) - scores.logsumexp(1);
  Store(logprobs, &Candidate::logprob, &candidates);
  if (options_.tempered_confidence) {
    Measure(filtered, tokens, &candidates);
  } else if (options_.needs.entropy || options_.needs.margin) {
    Measure({scores.softmax(1), {}}, tokens, &candidates);
  } else {  // spares the pass over the vocabulary
    for (Candidate& candidate : candidates) candidate.confidence = std::exp(candidate.logprob);
  }
  return candidates;
}

TokenSampler::Distribution TokenSampler::Filter(const torch::Tensor& logits) const {
  const int64_t vocabulary = logits.size(1);
  const bool filtered = options_.top_p < 1 || (options_.top_k > 0 && options_.top_k < vocabulary);
  const double temperature = options_.temperature > 0 ? options_.temperature : 1;
  torch::Tensor tempered = logits.to(torch::kFloat64) / temperature;
  Distribution distribution;
  if (filtered) {
    std::tie(tempered, distribution.ids) =
        tempered.sort(/*stable=*/true, /*dim=*/1, /*descending=*/true);
    if (options_.top_k > 0) {
      const int64_t kept = std::min<int64_t>(options_.top_k, vocabulary);
      tempered = tempered.narrow(1, 0, kept);
      distribution.ids = distribution.ids.narrow(1, 0, kept);
    }
  }
  distribution.probabilities = tempered.softmax(1);
  if (options_.top_p < 1) {
    // Keeps the shortest prefix that reaches top_p: a column stays while those before it don't.
    const torch::Tensor& p = distribution.probabilities;
    torch::Tensor outside = p.cumsum(1) - p >= options_.top_p;
    outside.select(1, 0).fill_(false);
    distribution.probabilities = p.masked_fill(outside, 0);
  }
  return distribution;
}

void TokenSampler::Measure(const Distribution& distribution, const torch::Tensor& tokens,
                           std::vector<Candidate>* candidates) const {
  const torch::Tensor p =
      distribution.probabilities / distribution.probabilities.sum(1, /*keepdim=*/true);
  const torch::Tensor column = tokens.unsqueeze(1);
  Store(distribution.ids.defined() ? p.masked_fill(distribution.ids != column, 0).sum(1)
                                   : p.gather(1, column).squeeze(1),
        &Candidate::confidence, candidates);
  if (options_.needs.entropy) {
    Store(torch::special_entr(p).sum(1), &Candidate::entropy, candidates);
  }
  if (options_.needs.margin) {
    const torch::Tensor best = std::get<0>(p.topk(std::min<int64_t>(2, p.size(1)), 1));
    Store(best.size(1) == 1 ? best.select(1, 0) : best.select(1, 0) - best.select(1, 1),
          &Candidate::margin, candidates);
  }
}

}  // namespace dtrpo::diffusion

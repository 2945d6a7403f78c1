#include "tests/unit/dtrpo/near_tie.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/check.h"
#include "common/base/philox.h"
#include "common/diffusion/unmask_policy.h"
#include "common/trajectory/block_layout.h"
#include "common/trajectory/state_at.h"
#include "tests/unit/model/test_model.h"

namespace dtrpo::objective {
namespace {

using trajectory::ResponseBlock;
using trajectory::Trajectory;

// What a row says about the token after it (or at it): probabilities by id.
struct Prediction {
  std::vector<double> plain;   // untempered
  std::vector<double> shaped;  // after temperature, top-k and top-p
  std::vector<int32_t> order;  // in which an inverse transform passes through the ids
};

std::vector<double> Softmax(std::vector<double> logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  for (double& value : logits) value = std::exp(value - top);
  const double sum = std::accumulate(logits.begin(), logits.end(), 0.0);
  for (double& value : logits) value /= sum;
  return logits;
}

Prediction Predict(std::vector<double> logits, const trajectory::SamplerParameters& parameters) {
  Prediction result;
  result.plain = Softmax(logits);
  const double temperature = parameters.temperature > 0 ? parameters.temperature : 1;
  for (double& value : logits) value /= temperature;
  result.shaped = Softmax(logits);
  result.order.resize(logits.size());
  std::iota(result.order.begin(), result.order.end(), 0);
  if (parameters.top_k == 0 && parameters.top_p >= 1) return result;

  std::stable_sort(result.order.begin(), result.order.end(),
                   [&](int32_t a, int32_t b) { return result.shaped[a] > result.shaped[b]; });
  size_t kept = result.order.size();
  if (parameters.top_k > 0) kept = std::min<size_t>(kept, parameters.top_k);
  double total = 0;
  for (size_t i = 0; i < kept; ++i) total += result.shaped[result.order[i]];
  double before = 0;
  double left = 0;
  for (size_t i = 0; i < result.order.size(); ++i) {
    double& p = result.shaped[result.order[i]];
    const double share = p / total;
    if (i >= kept || (i > 0 && before >= parameters.top_p)) p = 0;
    before += share;
    left += p;
  }
  for (double& p : result.shaped) p /= left;
  return result;
}

// By how much the numbers must move for `token` to be the one taken.
double TokenSlack(const Prediction& prediction, int32_t token, bool greedy, double uniform) {
  if (greedy) {
    const double best = *std::max_element(prediction.plain.begin(), prediction.plain.end());
    return std::log(best) - std::log(prediction.plain[token]);
  }
  double begin = 0;
  for (const int32_t id : prediction.order) {
    const double end = begin + prediction.shaped[id];
    if (id == token) {
      if (prediction.shaped[id] == 0) break;
      return std::max({0.0, begin - uniform, uniform - end});
    }
    begin = end;
  }
  return std::numeric_limits<double>::infinity();
}

int32_t LikeliestToTake(const Prediction& prediction, bool greedy, double uniform) {
  int32_t best = 0;
  double least = std::numeric_limits<double>::infinity();
  for (int32_t id = 0; id < static_cast<int32_t>(prediction.plain.size()); ++id) {
    if (prediction.plain[id] == 0) continue;  // the mask
    const double slack = TokenSlack(prediction, id, greedy, uniform);
    if (slack < least) {
      best = id;
      least = slack;
    }
  }
  return best;
}

class Replay {
 public:
  Replay(double margin, const model::Transformer& model, const Trajectory& t)
      : margin_(margin),
        model_(model),
        t_(t),
        prompt_(static_cast<int64_t>(t.prompt_tokens.size())),
        bidirectional_(model.descriptor().attention == checkpoint::Attention::kBidirectional) {
    auto policy = diffusion::ParseUnmaskPolicy(t.sampler.unmask);
    DTRPO_CHECK_OK(policy);
    policy_ = *std::move(policy);
  }

  std::string Run() {
    const std::vector<ResponseBlock> blocks = ResponseBlocks(t_);
    for (size_t b = 0; b < blocks.size() && why_.empty(); ++b) Block(b, blocks[b]);
    return why_;
  }

 private:
  void Block(int64_t b, const ResponseBlock& block) {
    const int64_t first = block.position;  // absolute, as all positions here
    if (!bidirectional_ && model_.descriptor().logit_shift == 1 && block.starts_in_response &&
        Step(first) == trajectory::kBlockFirstStep) {
      const Prediction p = Predictions(b, 0, {first})[0];
      Token(p, first, 0, t_.sampler.first_token == trajectory::FirstToken::kGreedy);
    }
    const int64_t sub_block = t_.sampler.sub_block > 0 ? t_.sampler.sub_block : t_.block_size;
    int32_t step = 0;
    for (int64_t begin = first; begin < first + t_.block_size; begin += sub_block) {
      diffusion::SubBlockProgress progress;
      progress.seed = t_.seed;
      while (why_.empty()) {
        std::vector<int64_t> masked;
        for (int64_t p = begin; p < std::min(begin + sub_block, first + t_.block_size); ++p) {
          if (p >= prompt_ && (Step(p) == trajectory::kNeverCommitted || Step(p) > step)) {
            masked.push_back(p);
          }
        }
        if (masked.empty()) break;
        if (progress.step == 0) progress.masks_at_start = static_cast<int32_t>(masked.size());
        // Nothing more was committed: Validate() knows whether a stop token is the reason.
        if (std::none_of(masked.begin(), masked.end(),
                         [&](int64_t p) { return Step(p) == step + 1; })) {
          return;
        }
        Select(b, ++step, masked, &progress);
      }
    }
  }

  void Select(int64_t b, int32_t step, const std::vector<int64_t>& masked,
              diffusion::SubBlockProgress* progress) {
    const std::vector<Prediction> predictions = Predictions(b, step, masked);
    std::vector<diffusion::MaskedPosition> numbers;
    std::vector<int32_t> recorded;
    for (size_t i = 0; i < masked.size(); ++i) {
      const bool chosen = Step(masked[i]) == step;
      if (chosen) {
        Token(predictions[i], masked[i], step, false);
        recorded.push_back(static_cast<int32_t>(i));
      }
      const int32_t token = chosen ? t_.response_tokens[masked[i] - prompt_]
                                   : LikeliestToTake(predictions[i], t_.sampler.temperature == 0,
                                                     Uniform(masked[i], step));
      numbers.push_back(Numbers(predictions[i], masked[i], token, chosen ? 1 : -1));
    }
    const diffusion::Selection selection = policy_->Select(*progress, numbers);
    progress->step += selection.steps;
    if (selection.chosen != recorded && why_.empty()) {
      why_ = absl::StrCat(t_.id, ": block ", b, " step ", step, ": of the masked positions ",
                          absl::StrJoin(masked, ","), " the policy takes those at ",
                          absl::StrJoin(selection.chosen, ","), ", recorded are ",
                          absl::StrJoin(recorded, ","));
    }
  }

  // What the policy sees, moved by half the margin for or against the choice of the position.
  diffusion::MaskedPosition Numbers(const Prediction& prediction, int64_t position, int32_t token,
                                    int sign) const {
    const std::vector<double>& p =
        t_.sampler.confidence == trajectory::kTempered ? prediction.shaped : prediction.plain;
    std::vector<double> sorted = p;
    std::sort(sorted.rbegin(), sorted.rend());
    double entropy = 0;
    for (const double value : p) entropy -= value > 0 ? value * std::log(value) : 0;
    const double move = sign * margin_ / 2;
    return {.position = position,
            .confidence = static_cast<float>(p[token] + move),
            .entropy = static_cast<float>(entropy - move),
            .margin = static_cast<float>(sorted[0] - sorted[1] + move)};
  }

  void Token(const Prediction& prediction, int64_t position, int32_t step, bool greedy) {
    const int32_t token = t_.response_tokens[position - prompt_];
    const double slack = TokenSlack(prediction, token, greedy || t_.sampler.temperature == 0,
                                    Uniform(position, step));
    if (slack < margin_ || !why_.empty()) return;
    why_ = absl::StrCat(t_.id, ": position ", position, " step ", step, ": token ", token,
                        " would need numbers that differ by ", slack);
  }

  // The sampler's draw for a position at a step.
  double Uniform(int64_t position, int32_t step) const {
    return base::CounterRng(t_.seed, position).Uniform01At(step);
  }

  // For the tokens at `positions`, in the state just before `step`; one forward from scratch.
  std::vector<Prediction> Predictions(int64_t b, int32_t step,
                                      const std::vector<int64_t>& positions) const {
    torch::NoGradGuard no_grad;
    const checkpoint::ModelDescriptor& d = model_.descriptor();
    const ResponseBlock block = ResponseBlocks(t_)[b];
    std::vector<int64_t> tokens(t_.prompt_tokens.begin(), t_.prompt_tokens.end());
    for (const int32_t token : trajectory::StateBefore(t_, b, std::max(step, 1), d.mask_id)) {
      tokens.push_back(token);
    }
    // A block-first token is read before its block exists.
    if (!bidirectional_) tokens.resize(block.position + (step == 0 ? 0 : t_.block_size));
    const torch::Tensor hidden =
        model_.Forward(bidirectional_ ? model::BidirectionalRows(tokens)
                                      : model::BlockCausalRows(tokens, t_.block_size));
    std::vector<Prediction> predictions;
    for (const int64_t position : positions) {
      const torch::Tensor logits =
          model_.Head(hidden.narrow(0, position - d.logit_shift, 1)).contiguous();
      std::vector<double> numbers(logits.data_ptr<double>(),
                                  logits.data_ptr<double>() + d.vocab_size);
      numbers[d.mask_id] = -std::numeric_limits<double>::infinity();
      predictions.push_back(Predict(std::move(numbers), t_.sampler));
    }
    return predictions;
  }

  int32_t Step(int64_t position) const { return t_.unmask_step[position - prompt_]; }

  const double margin_;
  const model::Transformer& model_;
  const Trajectory& t_;
  const int64_t prompt_;
  const bool bidirectional_;
  std::unique_ptr<diffusion::UnmaskPolicy> policy_;
  std::string why_;
};

}  // namespace

std::string WhyNotWithin(double margin, const model::Transformer& model, const Trajectory& t) {
  return Replay(margin, model, t).Run();
}

std::unique_ptr<model::Transformer> InDoublePrecision(const model::Transformer& model) {
  model::NamedTensors tensors = model.NamedParameters();
  for (auto& [name, tensor] : tensors) tensor = tensor.to(torch::kFloat64);
  auto twin = model::Transformer::FromTensors(model.descriptor(), std::move(tensors),
                                              {.dtype = torch::kFloat64});
  DTRPO_CHECK_OK(twin);
  return *std::move(twin);
}

}  // namespace dtrpo::objective

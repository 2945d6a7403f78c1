#include "tests/support/plain_scorer.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace dtrpo::support {
namespace {

using torch::Tensor;

class PlainModel {
 public:
  explicit PlainModel(const model::Transformer& model)
      : d_(model.descriptor()),
        tensors_(model.NamedParameters().begin(), model.NamedParameters().end()) {}

  // [L] tokens at positions 0.., sees [L, L] -> log-probabilities [L, V].
  Tensor LogProbs(const std::vector<int64_t>& tokens, const Tensor& sees) const {
    Tensor x = At("model.embed_tokens.weight").index({torch::tensor(tokens)});
    for (int64_t layer = 0; layer < d_.num_layers; ++layer) {
      const std::string name = absl::StrCat("model.layers.", layer, ".");
      x = x + Attention(name + "self_attn.", Norm(x, name + "input_layernorm"), sees);
      const Tensor normed = Norm(x, name + "post_attention_layernorm");
      x = x + Project(torch::silu(Project(normed, name + "mlp.gate_proj")) *
                          Project(normed, name + "mlp.up_proj"),
                      name + "mlp.down_proj");
    }
    x = Norm(x, "model.norm");
    const Tensor logits = Project(x, d_.tie_word_embeddings ? "model.embed_tokens" : "lm_head");
    const Tensor is_mask = torch::arange(d_.vocab_size).eq(d_.mask_id);
    return logits.masked_fill(is_mask, -std::numeric_limits<double>::infinity()).log_softmax(1);
  }

 private:
  const Tensor& At(const std::string& name) const { return tensors_.at(name); }

  Tensor Project(const Tensor& x, const std::string& name) const {
    const Tensor y = x.matmul(At(name + ".weight").t());
    const auto bias = tensors_.find(name + ".bias");
    return bias == tensors_.end() ? y : y + bias->second;
  }

  Tensor Norm(const Tensor& x, const std::string& name) const {
    return x / (x * x).mean(-1, true).add(d_.rms_norm_eps).sqrt() * At(name + ".weight");
  }

  // [L, heads * E] -> [heads, L, E], turned by the positions.
  Tensor Heads(const Tensor& x, int64_t heads) const {
    return x.view({x.size(0), heads, d_.head_dim}).transpose(0, 1);
  }
  Tensor Turned(const Tensor& x) const {
    const int64_t half = d_.head_dim / 2;
    const auto float64 = torch::dtype(torch::kFloat64);
    const Tensor frequency =
        torch::pow(d_.rope_theta, torch::arange(half, float64) * (-2.0 / d_.head_dim));
    const Tensor angle = torch::arange(x.size(1), float64).unsqueeze(1) * frequency;
    const Tensor cos = angle.cos().to(x.scalar_type()), sin = angle.sin().to(x.scalar_type());
    const Tensor a = x.narrow(2, 0, half), b = x.narrow(2, half, half);
    return torch::cat({a * cos - b * sin, b * cos + a * sin}, 2);
  }

  Tensor Attention(const std::string& name, const Tensor& x, const Tensor& sees) const {
    const auto normed = [&](const Tensor& heads, const char* norm) {
      return d_.qk_norm ? Norm(heads, absl::StrCat(name, norm)) : heads;
    };
    const int64_t shared = d_.num_heads / d_.num_key_value_heads;
    const Tensor q = Turned(normed(Heads(Project(x, name + "q_proj"), d_.num_heads), "q_norm"));
    const Tensor k =
        Turned(normed(Heads(Project(x, name + "k_proj"), d_.num_key_value_heads), "k_norm"))
            .repeat_interleave(shared, 0);
    const Tensor v =
        Heads(Project(x, name + "v_proj"), d_.num_key_value_heads).repeat_interleave(shared, 0);
    const Tensor scores = q.matmul(k.transpose(1, 2)) / std::sqrt(static_cast<double>(d_.head_dim));
    const Tensor weights =
        scores.masked_fill(~sees, -std::numeric_limits<double>::infinity()).softmax(2);
    return Project(weights.matmul(v).transpose(0, 1).reshape({x.size(0), -1}), name + "o_proj");
  }

  const checkpoint::ModelDescriptor d_;
  const std::map<std::string, Tensor> tensors_;
};

// Positions by response index; blocks are counted on absolute positions, or from the response.
struct Places {
  int64_t prompt, size;
  bool from_response;

  int64_t Block(int64_t i) const {
    return from_response ? i / size : (prompt + i) / size - prompt / size;
  }
};

Tensor Sees(int64_t length, int64_t block_size) {
  const Tensor block = torch::arange(length).div(block_size, "floor");
  return block.unsqueeze(1) >= block.unsqueeze(0);
}

}  // namespace

Tensor PlainScores(const model::Transformer& model, const trajectory::Trajectory& t,
                   const trajectory::MaskPlan& plan) {
  const PlainModel plain(model);
  const checkpoint::ModelDescriptor& d = model.descriptor();
  const bool bidirectional = d.attention == checkpoint::Attention::kBidirectional;
  const Places places{static_cast<int64_t>(t.prompt_tokens.size()), t.block_size, bidirectional};
  const int64_t targets = trajectory::TargetCount(t);
  std::vector<Tensor> scores;
  // The sequence just before `step` of `block`; the scores of the tokens with that step.
  const auto score = [&](int64_t block, int32_t step) {
    std::vector<int64_t> tokens(t.prompt_tokens.begin(), t.prompt_tokens.end());
    for (int64_t i = 0; i < static_cast<int64_t>(t.response_tokens.size()); ++i) {
      const int64_t own = places.Block(i);
      if (own > block && !bidirectional) break;
      // A token of step 0 is read before its block exists.
      if (own == block && step == trajectory::kBlockFirstStep) break;
      const bool stands =
          t.unmask_step[i] >= 0 && (own < block || (own == block && t.unmask_step[i] < step));
      tokens.push_back(stands ? t.response_tokens[i] : d.mask_id);
    }
    const int64_t length = static_cast<int64_t>(tokens.size());
    const Tensor log_probs =
        plain.LogProbs(tokens, Sees(length, bidirectional ? length : t.block_size));
    for (int64_t i = 0; i < targets; ++i) {
      if (places.Block(i) != block || t.unmask_step[i] != step) continue;
      scores.push_back(log_probs[places.prompt + i - d.logit_shift][t.response_tokens[i]]);
    }
  };
  for (size_t b = 0; b < plan.blocks.size(); ++b) {
    const int64_t block = static_cast<int64_t>(b);
    if (plan.blocks[b].first_token >= 0) score(block, trajectory::kBlockFirstStep);
    for (const trajectory::ScoredState& state : plan.blocks[b].states) score(block, state.step);
  }
  return scores.empty() ? torch::zeros({0}) : torch::stack(scores);
}

}  // namespace dtrpo::support

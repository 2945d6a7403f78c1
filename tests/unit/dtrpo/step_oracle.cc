#include "tests/unit/dtrpo/step_oracle.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <limits>
#include <set>

#include "common/dtrpo/log_ratio.h"
#include "common/dtrpo/trajectory_scorer.h"
#include "common/trajectory/plans/step_draws.h"
#include "tests/unit/model/test_model.h"

namespace dtrpo::objective {
namespace {

using trajectory::MaskPlan;
using trajectory::Trajectory;

// Log-probabilities [row count, V] of a plain sequence under the block-causal mask.
torch::Tensor LogSoftmax(const model::Transformer& model, const std::vector<int64_t>& tokens,
                         int64_t block_size) {
  const torch::Tensor hidden = model.Forward(model::BlockCausalRows(tokens, block_size));
  torch::Tensor logits = model.Head(hidden).clone();
  logits.select(1, model.descriptor().mask_id).fill_(-std::numeric_limits<double>::infinity());
  return logits.log_softmax(1);
}

}  // namespace

checkpoint::ModelDescriptor ScoredDescriptor(bool token_shift) {
  checkpoint::ModelDescriptor d = model::TinyDescriptor();
  const support::TrajectoryShape shape;
  d.vocab_size = shape.vocabulary_size;
  d.mask_id = shape.mask_id;
  d.stop_ids = {shape.stop_id};
  d.pad_id = shape.stop_id;
  d.block_size = shape.block_size;
  d.logit_shift = token_shift ? 1 : 0;
  return d;
}

checkpoint::ModelDescriptor BidirectionalDescriptor(bool token_shift) {
  checkpoint::ModelDescriptor d = ScoredDescriptor(token_shift);
  d.family = token_shift ? "dream" : "llada";
  d.attention = checkpoint::Attention::kBidirectional;
  d.block_origin = checkpoint::BlockOrigin::kResponse;
  return d;
}

std::unique_ptr<model::Transformer> BidirectionalModel(uint64_t seed, bool token_shift,
                                                       bool requires_grad) {
  return model::TinyTransformer(BidirectionalDescriptor(token_shift),
                                {.dtype = torch::kFloat64, .requires_grad = requires_grad}, seed);
}

std::unique_ptr<model::Transformer> ScoredModel(uint64_t seed, bool token_shift,
                                                bool requires_grad) {
  return model::TinyTransformer(ScoredDescriptor(token_shift),
                                {.dtype = torch::kFloat64, .requires_grad = requires_grad}, seed);
}

namespace {

// Of a bidirectional model: the whole sequence for each token, later blocks masked.
std::vector<double> WholeTokenLogProbs(const model::Transformer& model, const Trajectory& t) {
  const int64_t prompt = static_cast<int64_t>(t.prompt_tokens.size());
  const int64_t response = static_cast<int64_t>(t.response_tokens.size());
  std::vector<double> result(response);
  for (int64_t i = 0; i < response; ++i) {
    if (t.unmask_step[i] == -1) continue;
    std::vector<int64_t> tokens(t.prompt_tokens.begin(), t.prompt_tokens.end());
    for (int64_t j = 0; j < response; ++j) {
      const bool stands =
          t.unmask_step[j] != -1 &&
          (j / t.block_size < i / t.block_size ||
           (j / t.block_size == i / t.block_size && t.unmask_step[j] < t.unmask_step[i]));
      tokens.push_back(stands ? t.response_tokens[j] : model.descriptor().mask_id);
    }
    const torch::Tensor log_probs = LogSoftmax(model, tokens, prompt + response);
    result[i] =
        log_probs[prompt + i - model.descriptor().logit_shift][t.response_tokens[i]].item<double>();
  }
  return result;
}

}  // namespace

std::vector<double> TokenLogProbs(const model::Transformer& model, const Trajectory& t) {
  torch::NoGradGuard no_grad;
  if (model.descriptor().attention == checkpoint::Attention::kBidirectional) {
    return WholeTokenLogProbs(model, t);
  }
  const int64_t prompt = static_cast<int64_t>(t.prompt_tokens.size());
  const int64_t response = static_cast<int64_t>(t.response_tokens.size());
  const int64_t size = t.block_size;
  std::vector<int64_t> whole(t.prompt_tokens.begin(), t.prompt_tokens.end());
  whole.insert(whole.end(), t.response_tokens.begin(), t.response_tokens.end());
  std::vector<double> result(response);
  for (int64_t begin = prompt / size * size; begin < prompt + response; begin += size) {
    std::set<int32_t> steps;
    for (int64_t p = std::max(begin, prompt); p < begin + size; ++p) {
      steps.insert(t.unmask_step[p - prompt]);
    }
    for (const int32_t step : steps) {
      if (step == -1) continue;
      // Step 0 is read before the block exists; the others see the block as it stood.
      std::vector<int64_t> tokens(whole.begin(), whole.begin() + begin + (step == 0 ? 0 : size));
      for (int64_t p = std::max(begin, prompt); p < static_cast<int64_t>(tokens.size()); ++p) {
        const int32_t own = t.unmask_step[p - prompt];
        if (own == -1 || own >= step) tokens[p] = model.descriptor().mask_id;
      }
      const torch::Tensor log_probs = LogSoftmax(model, tokens, size);
      for (int64_t p = std::max(begin, prompt); p < begin + size; ++p) {
        if (t.unmask_step[p - prompt] != step) continue;
        const int64_t row = p - model.descriptor().logit_shift;
        result[p - prompt] = log_probs[row][whole[p]].item<double>();
      }
    }
  }
  return result;
}

std::vector<double> Planned(const std::vector<double>& token_log_probs, const MaskPlan& plan) {
  std::vector<double> result;
  for (const trajectory::BlockPlan& block : plan.blocks) {
    if (block.first_token >= 0) result.push_back(token_log_probs[block.first_token]);
    for (const trajectory::ScoredState& state : block.states) {
      for (const int64_t i : state.targets) result.push_back(token_log_probs[i]);
    }
  }
  return result;
}

std::vector<double> Score(const model::Transformer& model, const Trajectory& t,
                          const MaskPlan& plan, trajectory::Boundary boundary) {
  torch::NoGradGuard no_grad;
  const ScoreInput input{&t, &plan};
  const absl::StatusOr<torch::Tensor> scores = ScoreTargets(model, {&input, 1}, boundary);
  EXPECT_TRUE(scores.ok()) << scores.status();
  return scores.ok() ? HostNumbers(*scores) : std::vector<double>();
}

namespace {

// After the states were chosen by hand.
void CountAndWeigh(MaskPlan* plan) {
  trajectory::WeighDrawnSteps(plan);
  plan->target_count = 0;
  for (const trajectory::BlockPlan& block : plan->blocks) {
    plan->target_count += block.first_token >= 0 ? 1 : 0;
    for (const auto& state : block.states) {
      plan->target_count += static_cast<int64_t>(state.targets.size());
    }
  }
}

}  // namespace

std::vector<MaskPlan> AllPlans(const Trajectory& t, int32_t draws) {
  const MaskPlan exact = MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0);
  std::vector<MaskPlan> plans = {exact};
  for (size_t b = 0; b < exact.blocks.size(); ++b) {
    const std::vector<trajectory::ScoredState>& all = exact.blocks[b].states;
    const int32_t steps = static_cast<int32_t>(all.size());
    std::vector<MaskPlan> longer;
    for (const MaskPlan& plan : plans) {
      for (int32_t r = 0; r < std::max(steps, 1); ++r) {
        longer.push_back(plan);
        auto& states = longer.back().blocks[b].states;
        states.clear();
        for (int32_t j = 0; j < std::min(draws, steps); ++j) states.push_back(all[(r + j) % steps]);
      }
    }
    plans = std::move(longer);
  }
  for (MaskPlan& plan : plans) CountAndWeigh(&plan);
  return plans;
}

std::vector<MaskPlan> AllSequencePlans(const Trajectory& t, int32_t draws) {
  const MaskPlan exact = MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0);
  std::vector<trajectory::ScoredState> all;
  for (const trajectory::BlockPlan& block : exact.blocks) {
    all.insert(all.end(), block.states.begin(), block.states.end());
  }
  const size_t total = all.size();
  const size_t count = std::min(static_cast<size_t>(draws), total);
  std::vector<MaskPlan> plans;
  for (size_t r = 0; r < total; ++r) {
    MaskPlan& plan = plans.emplace_back(exact);
    plan.draw_from = trajectory::DrawFrom::kSequence;
    for (trajectory::BlockPlan& block : plan.blocks) block.states.clear();
    for (size_t j = 0; j < count; ++j) {
      const trajectory::ScoredState& state = all[(r + j * total / count) % total];
      plan.blocks[state.block].states.push_back(state);
    }
    CountAndWeigh(&plan);
  }
  return plans;
}

}  // namespace dtrpo::objective

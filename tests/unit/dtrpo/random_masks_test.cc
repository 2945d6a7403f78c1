// Objectives on random masks through the one-forward scorer: against a forward for each mask that
// shares no code with it, and VRPO's expectation against brute force.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "common/dtrpo/log_ratio.h"
#include "common/dtrpo/plan_weights.h"
#include "tests/unit/dtrpo/step_oracle.h"

namespace dtrpo::objective {
namespace {

using ::testing::DoubleNear;
using ::testing::Pointwise;
using trajectory::BlockPlan;
using trajectory::MaskPlan;
using trajectory::PlanKind;
using trajectory::ScoredState;
using trajectory::Trajectory;

// log p of the masked targets, each in a plain forward over one sequence: the mask is written down
// as an order in which they come last. Whole: as one block.
std::vector<double> OfMask(const model::Transformer& model, const Trajectory& t,
                           const BlockPlan& block, const std::vector<int64_t>& targets) {
  Trajectory written = t;
  if (t.block_origin == trajectory::BlockOrigin::kResponse) {
    written.block_size = static_cast<int32_t>(t.response_tokens.size());
  }
  for (int64_t i = block.block.begin; i < block.block.end; ++i) {
    if (!IsTarget(t, i)) {
      written.unmask_step[i] = trajectory::kNeverCommitted;
    } else if (t.unmask_step[i] >= 1) {
      written.unmask_step[i] = 1;
    }
  }
  for (const int64_t i : targets) written.unmask_step[i] = 2;
  const std::vector<double> all = TokenLogProbs(model, written);
  std::vector<double> result;
  for (const int64_t i : targets) result.push_back(all[i]);
  return result;
}

double FirstToken(const model::Transformer& model, const Trajectory& t, int64_t i) {
  return TokenLogProbs(model, t)[i];
}

TEST(RandomMasksTest, OneForwardTermsEqualAForwardForEachMask) {
  for (const bool shift : {true, false}) {
    for (const bool whole : {true, false}) {
      const auto model = whole ? BidirectionalModel(1, shift) : ScoredModel(1, shift);
      for (int64_t prompt = 4; prompt <= 7; ++prompt) {
        const Trajectory t = support::RandomTrajectory({.prompt_tokens = prompt,
                                                        .max_new_tokens = 10,
                                                        .token_shift = shift,
                                                        .stop_index = prompt == 6 ? 7 : -1,
                                                        .bidirectional = whole},
                                                       static_cast<uint64_t>(prompt));
        for (const PlanKind kind : {PlanKind::kVrpo, PlanKind::kRandomMask}) {
          const MaskPlan plan = MakeMaskPlan(t, {.kind = kind, .draws = 3}, 1);
          std::vector<double> expected;
          for (const BlockPlan& block : plan.blocks) {
            if (block.first_token >= 0) {
              expected.push_back(FirstToken(*model, t, block.first_token));
            }
            for (const ScoredState& state : block.states) {
              for (const double x : OfMask(*model, t, block, state.targets)) expected.push_back(x);
            }
          }
          EXPECT_THAT(Score(*model, t, plan), Pointwise(DoubleNear(1e-10), expected))
              << "prompt " << prompt << " shift " << shift << " whole " << whole;
        }
      }
    }
  }
}

// Of every mask of every block: the sum of its targets' log-ratios.
using MaskSums = std::map<std::vector<int64_t>, double>;

struct Enumerated {
  Trajectory t;
  double first_tokens = 0;
  std::vector<MaskSums> blocks;
  double elbo = 0;  // the log-ratio of two ELBOs, by brute force
};

// By brute force: the mean over all orders of unmasking one token at a time, which is what the ELBO
// of masked diffusion is (arXiv 2502.09992). No noise levels and no weights in it.
double MeanOverOrders(const MaskSums& sums, std::vector<int64_t> targets) {
  std::sort(targets.begin(), targets.end());
  double total = 0;
  int64_t orders = 0;
  do {
    ++orders;
    for (size_t done = 0; done < targets.size(); ++done) {
      std::vector<int64_t> left(targets.begin() + static_cast<int64_t>(done), targets.end());
      std::sort(left.begin(), left.end());
      // The next token is any of `left` with equal chance, whatever stands behind it in the order.
      total += sums.at(left) / static_cast<double>(left.size());
    }
  } while (std::next_permutation(targets.begin(), targets.end()));
  return total / static_cast<double>(orders);
}

Enumerated Enumerate(int64_t prompt) {
  const auto policy = ScoredModel(1), reference = ScoredModel(2);
  Enumerated e;
  e.t = support::RandomTrajectory({.prompt_tokens = prompt, .max_new_tokens = 7}, 11);
  const MaskPlan plan = MakeMaskPlan(e.t, {.kind = PlanKind::kVrpo}, 0);
  for (const BlockPlan& block : plan.blocks) {
    if (block.first_token >= 0) {
      e.first_tokens += FirstToken(*policy, e.t, block.first_token) -
                        FirstToken(*reference, e.t, block.first_token);
    }
    std::vector<int64_t> targets;
    for (int64_t i = block.block.begin; i < block.block.end; ++i) {
      if (IsTarget(e.t, i) && e.t.unmask_step[i] >= 1) targets.push_back(i);
    }
    MaskSums& sums = e.blocks.emplace_back();
    for (uint32_t bits = 1; bits < (1u << targets.size()); ++bits) {
      std::vector<int64_t> masked;
      for (size_t i = 0; i < targets.size(); ++i) {
        if ((bits >> i & 1) != 0) masked.push_back(targets[i]);
      }
      const auto p = OfMask(*policy, e.t, block, masked);
      const auto r = OfMask(*reference, e.t, block, masked);
      sums[masked] =
          std::accumulate(p.begin(), p.end(), 0.0) - std::accumulate(r.begin(), r.end(), 0.0);
    }
    if (!targets.empty()) e.elbo += MeanOverOrders(sums, targets);
  }
  e.elbo += e.first_tokens;
  return e;
}

// R by a plan's own masks and weights.
double Estimate(const Enumerated& e, const MaskPlan& plan) {
  double ratio = e.first_tokens;
  for (size_t b = 0; b < plan.blocks.size(); ++b) {
    for (const ScoredState& state : plan.blocks[b].states) {
      ratio += state.weight * e.blocks[b].at(state.targets);
    }
  }
  return ratio;
}

// Every mask of l of n targets has probability 1/n / C(n, l) (MaskDrawTest); with the weights that
// plans give them, the expectation is the ELBO.
TEST(RandomMasksTest, TheExpectationOverAllMasksIsTheElbo) {
  for (const int64_t prompt : {4, 5, 7}) {
    const Enumerated e = Enumerate(prompt);
    std::vector<std::map<size_t, double>> weights(e.blocks.size());  // by masked targets
    for (int32_t use = 0; use < 60; ++use) {
      const MaskPlan plan = MakeMaskPlan(e.t, {.kind = PlanKind::kVrpo}, use);
      for (size_t b = 0; b < plan.blocks.size(); ++b) {
        for (const ScoredState& s : plan.blocks[b].states) weights[b][s.targets.size()] = s.weight;
      }
    }
    double expectation = e.first_tokens, plain = e.first_tokens;
    for (size_t b = 0; b < e.blocks.size(); ++b) {
      const double n = std::log2(static_cast<double>(e.blocks[b].size() + 1));
      for (const auto& [masked, sum] : e.blocks[b]) {
        const double l = static_cast<double>(masked.size());
        const double of_size = std::tgamma(n + 1) / std::tgamma(l + 1) / std::tgamma(n - l + 1);
        expectation += sum * weights[b].at(masked.size()) / (n * of_size);
        plain += sum / (n * of_size);
      }
    }
    EXPECT_NEAR(expectation, e.elbo, 1e-9) << "prompt " << prompt;
    EXPECT_GT(std::abs(plain - e.elbo), 0.01) << "the weights make no difference";
  }
}

struct Moments {
  double mean = 0, variance = 0;
};
Moments OverUses(const Enumerated& e, const trajectory::MaskPlanOptions& options, int32_t uses) {
  double sum = 0, squares = 0;
  for (int32_t use = 0; use < uses; ++use) {
    const double ratio = Estimate(e, MakeMaskPlan(e.t, options, use));
    sum += ratio;
    squares += ratio * ratio;
  }
  return {sum / uses, squares / uses - sum * sum / uses / uses};
}

TEST(RandomMasksTest, AntitheticPairsKeepTheMeanAndLowerTheVariance) {
  constexpr int32_t kUses = 20000;
  const Enumerated e = Enumerate(5);
  for (const int32_t draws : {2, 8}) {
    const Moments pairs = OverUses(e, {.kind = PlanKind::kVrpo, .draws = draws}, kUses);
    const Moments independent =
        OverUses(e, {.kind = PlanKind::kVrpo, .draws = draws, .antithetic = false}, kUses);
    EXPECT_NEAR(pairs.mean, e.elbo, 5 * std::sqrt(pairs.variance / kUses));
    EXPECT_NEAR(independent.mean, e.elbo, 5 * std::sqrt(independent.variance / kUses));
    EXPECT_LT(pairs.variance, independent.variance) << draws << " draws";
  }
}

TEST(RandomMasksTest, WeightingsAndLengthNormalisationOfOneMask) {
  const Trajectory t = support::RandomTrajectory({.prompt_tokens = 5, .max_new_tokens = 3}, 1);
  const MaskPlan plan = MakeMaskPlan(t, {.kind = PlanKind::kRandomMask}, 0);
  ASSERT_EQ(plan.blocks.size(), 1u);
  const size_t masked = plan.blocks[0].states[0].targets.size();
  for (const double w : RatioWeights(plan, job::Weighting::kSteps, false)) EXPECT_EQ(w, 1);
  for (const double w : RatioWeights(plan, job::Weighting::kMean, true)) {
    EXPECT_DOUBLE_EQ(w, 1 / static_cast<double>(masked));  // the mean over the masked tokens
  }
}

// Only states that were sampled from have behaviour log-probabilities.
TEST(RandomMasksTest, RhoIsMadeOfBehaviourStatesAndRAndTheSftTermOfTheMasks) {
  const Trajectory t = support::RandomTrajectory({.prompt_tokens = 6, .max_new_tokens = 10}, 5);
  const MaskPlan plan =
      MakeMaskPlan(t, {.kind = PlanKind::kVrpo, .draws = 2, .behaviour_states = true}, 0);
  const auto ratio = RatioWeights(plan, job::Weighting::kSteps, false);
  const auto rho = StalenessWeights(plan);
  const auto mean = MeanWeights(plan);
  EXPECT_NEAR(std::accumulate(mean.begin(), mean.end(), 0.0), 1, 1e-12);
  size_t at = 0;
  for (const PlannedTarget& target : PlannedTargets(plan)) {
    const bool first = target.state == kFirstTokenState;
    const bool sampled = first || target.state == 2;
    EXPECT_EQ(rho[at], sampled ? 1 : 0);
    EXPECT_EQ(ratio[at] > 0, first || !sampled);
    EXPECT_EQ(mean[at] > 0, first || !sampled);
    ++at;
  }
}

}  // namespace
}  // namespace dtrpo::objective

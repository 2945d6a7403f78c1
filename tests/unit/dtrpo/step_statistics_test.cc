#include "common/dtrpo/step_statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/trajectory/plans/step_draws.h"

namespace dtrpo::objective {
namespace {

using trajectory::MaskPlan;
using trajectory::PreferencePair;
using trajectory::Trajectory;

// P mod B = 0, B = 4, one block: a first token, then one token at each of the steps 1, 2, 3.
Trajectory Answer(const std::string& id, int64_t version) {
  Trajectory t;
  t.id = id;
  t.prompt_tokens = {1, 1, 1, 1};
  t.block_size = 4;
  t.response_tokens = {1, 2, 3, 4};
  t.unmask_step = {0, 1, 2, 3};
  t.behaviour_logprob = {-1, -1, -1, -1};
  t.weights_version = {version};
  return t;
}

struct Scored {
  PreferencePair pair;
  MaskPlan chosen, rejected;
  PairInput input() const { return {&pair, &chosen, &rejected}; }
};

Scored Pair(const trajectory::MaskPlanOptions& options, int64_t version) {
  Scored scored;
  scored.pair.chosen = Answer("chosen", version);
  scored.pair.rejected = Answer("rejected", version);
  scored.pair.chosen.reward = 1;
  scored.chosen = MakeMaskPlan(scored.pair.chosen, options, 0);
  scored.rejected = MakeMaskPlan(scored.pair.rejected, options, 0);
  return scored;
}

TEST(StepStatisticsTest, MeansAreOverPairs) {
  const Scored scored = Pair({.kind = trajectory::PlanKind::kExact}, 3);
  const PairInput inputs[] = {scored.input(), scored.input()};
  const PairTerms terms[] = {{2, -1, 0.3, 0.5, 1, 0.5}, {1, 2, -0.1, 0.7, 3, 1}};
  const std::vector<double> policy(16, -1), reference(16, -2);
  job::ObjectiveSpec objective;
  objective.sft_weight = 0.1;
  StepStatistics statistics(objective, /*policy_version=*/5, true);
  statistics.Add(inputs, terms, policy, reference);
  const auto values = statistics.Values();
  EXPECT_EQ(values.at("pairs"), 2);
  EXPECT_EQ(values.at("target_tokens"), 16);
  EXPECT_DOUBLE_EQ(values.at("preference_loss"), 0.6);
  EXPECT_DOUBLE_EQ(values.at("sft_loss"), 2);
  EXPECT_DOUBLE_EQ(values.at("loss"), 0.8);
  EXPECT_DOUBLE_EQ(values.at("margin"), 0.1);
  EXPECT_DOUBLE_EQ(values.at("accuracy"), 0.5);
  EXPECT_DOUBLE_EQ(values.at("rho"), 0.75);
  EXPECT_DOUBLE_EQ(values.at("log_ratio_chosen"), 1.5);
  EXPECT_DOUBLE_EQ(values.at("log_ratio_rejected"), 0.5);
  EXPECT_DOUBLE_EQ(values.at("log_ratio_chosen_block_0"), 4);  // four tokens of one nat each
  EXPECT_DOUBLE_EQ(values.at("reward_chosen"), 1);
  EXPECT_DOUBLE_EQ(values.at("staleness"), 2);
  EXPECT_DOUBLE_EQ(values.at("staleness_max"), 2);
  EXPECT_EQ(values.at("estimator_variance"), 0);  // nothing is drawn
  EXPECT_EQ(values.count("mismatch"), 0u);        // made by other weights
}

TEST(StepStatisticsTest, MismatchNeedsThePolicysOwnWeights) {
  const Scored scored = Pair({.kind = trajectory::PlanKind::kExact}, 5);
  const PairInput input = scored.input();
  const PairTerms terms;
  std::vector<double> policy(8, -1);
  policy[2] = -1.4;
  policy[6] = -0.6;
  for (const bool own : {true, false}) {
    StepStatistics statistics({}, 5, own);
    statistics.Add({&input, 1}, {&terms, 1}, policy, policy);
    const auto values = statistics.Values();
    if (own) {
      EXPECT_DOUBLE_EQ(values.at("mismatch"), 0.1);
    } else {
      EXPECT_EQ(values.count("mismatch"), 0u);
    }
  }
}

// The estimate from two draws, averaged over all draws, against the true variance of R.
// Neighbouring steps are independent here only on average over permutations, so all orders of the
// terms are tried.
TEST(StepStatisticsTest, TwoDrawsEstimateTheVarianceThatDrawingAdds) {
  const double orders[][3] = {{1, 2, 6}, {1, 6, 2}, {2, 1, 6}, {2, 6, 1}, {6, 1, 2}, {6, 2, 1}};
  double estimated = 0, squares = 0;
  int count = 0;
  for (const auto& terms_of_steps : orders) {
    for (int32_t r = 0; r < 3; ++r, ++count) {
      Scored scored = Pair({.kind = trajectory::PlanKind::kExact}, 0);
      double ratio = 0;
      std::vector<double> policy;
      for (MaskPlan* plan : {&scored.chosen, &scored.rejected}) {
        auto& states = plan->blocks[0].states;
        states = {states[r], states[(r + 1) % 3]};
        plan->target_count = 3;
        trajectory::WeighDrawnSteps(plan);
        policy.push_back(0);
        for (const auto& state : states) policy.push_back(terms_of_steps[state.step - 1]);
      }
      for (const double term : policy) ratio += 1.5 * term / 2;  // T/k, one of the two answers
      squares += (ratio - 9) * (ratio - 9);
      const std::vector<double> reference(policy.size(), 0);
      const PairInput input = scored.input();
      const PairTerms terms;
      StepStatistics statistics({}, 0, true);
      statistics.Add({&input, 1}, {&terms, 1}, policy, reference);
      estimated += statistics.Values().at("estimator_variance");
    }
  }
  EXPECT_GT(squares, 0);
  EXPECT_NEAR(estimated / count, squares / count, 1e-9);
}

TEST(StepStatisticsTest, OneDrawReportsTheVarianceAcrossAnswers) {
  const Scored scored = Pair({.draws = 1}, 0);
  const PairInput inputs[] = {scored.input(), scored.input()};
  const PairTerms terms[] = {{1, 0, 0, 0, 0, 1}, {3, 4, 0, 0, 0, 1}};  // variances 2 and 8
  const std::vector<double> policy(8, -1);
  StepStatistics statistics({}, 0, true);
  statistics.Add(inputs, terms, policy, policy);
  EXPECT_DOUBLE_EQ(statistics.Values().at("estimator_variance"), 5);
}

TEST(StepStatisticsTest, ExternalAnswersHaveNoStaleness) {
  Scored scored = Pair({.kind = trajectory::PlanKind::kExact}, 0);
  for (Trajectory* t : {&scored.pair.chosen, &scored.pair.rejected}) {
    t->external = true;
    t->weights_version.clear();
    t->behaviour_logprob.clear();
  }
  const PairInput input = scored.input();
  const PairTerms terms;
  const std::vector<double> policy(8, -1);
  StepStatistics statistics({}, 0, true);
  statistics.Add({&input, 1}, {&terms, 1}, policy, policy);
  EXPECT_EQ(statistics.Values().count("staleness"), 0u);
  EXPECT_EQ(statistics.Values().count("mismatch"), 0u);
}

TEST(StepStatisticsTest, AnEmptyStepHasCountsOnly) {
  EXPECT_EQ(StepStatistics({}, 0, true).Values().size(), 2u);
}

}  // namespace
}  // namespace dtrpo::objective

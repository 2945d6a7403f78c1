#include "common/dtrpo/log_ratio.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <numeric>

#include "common/dtrpo/trajectory_scorer.h"
#include "tests/unit/dtrpo/step_oracle.h"

namespace dtrpo::objective {
namespace {

using trajectory::Boundary;
using trajectory::MaskPlan;
using trajectory::Trajectory;

// R of every plan, all scored in one forward by policy and reference.
std::vector<double> Estimates(const model::Transformer& policy, const model::Transformer& reference,
                              const Trajectory& t, const std::vector<MaskPlan>& plans,
                              const job::ObjectiveSpec& objective) {
  torch::NoGradGuard no_grad;
  std::vector<ScoreInput> inputs;
  std::vector<const MaskPlan*> borrowed;
  for (const MaskPlan& plan : plans) {
    inputs.push_back({&t, &plan});
    borrowed.push_back(&plan);
  }
  const auto p = ScoreTargets(policy, inputs, Boundary::kClean);
  const auto r = ScoreTargets(reference, inputs, Boundary::kClean);
  EXPECT_TRUE(p.ok() && r.ok()) << p.status() << r.status();
  return HostNumbers(LogRatios(borrowed, *p, *r, objective));
}

double ExactLogRatio(const model::Transformer& policy, const model::Transformer& reference,
                     const Trajectory& t) {
  const std::vector<double> p = TokenLogProbs(policy, t), r = TokenLogProbs(reference, t);
  double sum = 0;
  for (int64_t i = 0; i < TargetCount(t); ++i) sum += p[i] - r[i];
  return sum;
}

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// Invariant 2. Draws are uniform (DrawTest), so the mean over all of them is the expectation.
TEST(LogRatioTest, ExactEnumerationOfAllDrawsEqualsTheExactTrajectoryLogRatio) {
  const auto policy = ScoredModel(1), reference = ScoredModel(2);
  for (const int64_t prompt : {4, 5, 7}) {  // P mod B in {0, 1, 3}
    for (const int32_t draws : {1, 2}) {
      // Mostly one token a step, so that two draws don't hold every step.
      const Trajectory t = support::RandomTrajectory({.prompt_tokens = prompt,
                                                      .max_new_tokens = 10,
                                                      .max_steps = 9,
                                                      .stop_index = prompt == 7 ? 7 : -1},
                                                     static_cast<uint64_t>(prompt));
      const double exact = ExactLogRatio(*policy, *reference, t);
      const std::vector<MaskPlan> plans = AllPlans(t, draws);
      ASSERT_GT(plans.size(), 3u);
      const std::vector<double> estimates = Estimates(*policy, *reference, t, plans, {});
      EXPECT_NEAR(Mean(estimates), exact, 1e-9) << "prompt " << prompt << " draws " << draws;
      double spread = 0;
      for (const double e : estimates) spread = std::max(spread, std::abs(e - exact));
      EXPECT_GT(spread, 0.1) << "the draws make no difference, so this proves nothing";
      // The biased weightings must not pass.
      job::ObjectiveSpec one;
      one.weighting = job::Weighting::kOne;
      if (draws == 1) {
        EXPECT_GT(std::abs(Mean(Estimates(*policy, *reference, t, plans, one)) - exact), 0.01);
      }
    }
  }
}

TEST(LogRatioTest, EveryStepDrawnIsExactWithoutAveraging) {
  const auto policy = ScoredModel(1), reference = ScoredModel(2);
  const Trajectory t = support::RandomTrajectory({.prompt_tokens = 6, .max_new_tokens = 10}, 5);
  const double exact = ExactLogRatio(*policy, *reference, t);
  const std::vector<MaskPlan> plans = {MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0),
                                       MakeMaskPlan(t, {.draws = 3}, 0),
                                       MakeMaskPlan(t, {.draws = 100}, 7)};
  for (const double r : Estimates(*policy, *reference, t, plans, {})) EXPECT_NEAR(r, exact, 1e-9);
}

TEST(LogRatioTest, BlocksOfOneStepAreExactWithOneDraw) {
  const auto policy = ScoredModel(1), reference = ScoredModel(2);
  for (uint64_t seed = 0; seed < 4; ++seed) {
    const Trajectory t = support::RandomTrajectory(
        {.prompt_tokens = 4 + static_cast<int64_t>(seed), .max_steps = 1}, seed);
    const std::vector<MaskPlan> plans = {MakeMaskPlan(t, {.draws = 1}, 0)};
    EXPECT_NEAR(Estimates(*policy, *reference, t, plans, {})[0],
                ExactLogRatio(*policy, *reference, t), 1e-9);
  }
}

TEST(LogRatioTest, LengthNormalisationDividesByTheTargets) {
  const auto policy = ScoredModel(1), reference = ScoredModel(2);
  const Trajectory t = support::RandomTrajectory({.prompt_tokens = 5, .max_new_tokens = 9}, 5);
  job::ObjectiveSpec objective;
  objective.length_normalised = true;
  const std::vector<MaskPlan> plans = {MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0)};
  EXPECT_NEAR(Estimates(*policy, *reference, t, plans, objective)[0],
              ExactLogRatio(*policy, *reference, t) / 9, 1e-9);
}

// Invariant 3: the same states for both, so equal weights give exactly nothing.
TEST(LogRatioTest, EqualWeightsGiveZero) {
  const auto policy = ScoredModel(1), reference = ScoredModel(1);
  const Trajectory t = support::RandomTrajectory({.prompt_tokens = 6, .max_new_tokens = 10}, 5);
  for (int32_t use = 0; use < 5; ++use) {
    EXPECT_EQ(Estimates(*policy, *reference, t, {MakeMaskPlan(t, {}, use)}, {})[0], 0);
  }
}

TEST(LogRatioTest, WeightedSumsKeepTrajectoriesApart) {
  const torch::Tensor values = torch::tensor({1.0, 2.0, 3.0, 4.0}, torch::kFloat64);
  EXPECT_THAT(HostNumbers(WeightedSums(values, {{1, 10}, {}, {100, 1000}})),
              ::testing::ElementsAre(21, 0, 4300));
}

}  // namespace
}  // namespace dtrpo::objective

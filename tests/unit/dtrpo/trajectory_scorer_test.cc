#include "common/dtrpo/trajectory_scorer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/dtrpo/log_ratio.h"
#include "common/dtrpo/plan_weights.h"
#include "common/model/target_log_probs.h"
#include "tests/unit/dtrpo/step_oracle.h"

namespace dtrpo::objective {
namespace {

using ::testing::DoubleNear;
using ::testing::HasSubstr;
using ::testing::Pointwise;
using trajectory::Boundary;
using trajectory::MaskPlan;
using trajectory::Trajectory;

constexpr double kRounding = 1e-10;  // float64
constexpr double kVisible = 0.01;    // a difference that matters, in nats

double LargestDifference(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

Trajectory AnyTrajectory(int64_t prompt, bool shift, uint64_t seed) {
  return support::RandomTrajectory({.prompt_tokens = prompt,
                                    .max_new_tokens = 11,
                                    .token_shift = shift,
                                    .stop_index = seed % 2 == 0 ? -1 : 8},
                                   seed);
}

// Invariant 2, the term half: every term of the one forward is the step-by-step one, whatever the
// prompt's residue, with and without token shift, exact and drawn.
TEST(TrajectoryScorerTest, OneForwardTermsEqualTheStepByStepOnes) {
  for (const bool shift : {true, false}) {
    const auto model = ScoredModel(1, shift);
    for (int64_t prompt = 1; prompt <= 9; ++prompt) {
      const Trajectory t = AnyTrajectory(prompt, shift, static_cast<uint64_t>(prompt));
      ASSERT_TRUE(Validate(t, 13).ok()) << Validate(t, 13);
      const std::vector<double> oracle = TokenLogProbs(*model, t);
      for (const auto& options :
           {trajectory::MaskPlanOptions{.kind = trajectory::PlanKind::kExact},
            trajectory::MaskPlanOptions{.draws = 1}, trajectory::MaskPlanOptions{.draws = 2}}) {
        const MaskPlan plan = MakeMaskPlan(t, options, 0);
        EXPECT_THAT(Score(*model, t, plan), Pointwise(DoubleNear(kRounding), Planned(oracle, plan)))
            << "prompt " << prompt << " shift " << shift;
      }
    }
  }
}

TEST(TrajectoryScorerTest, ABatchScoresLikeItsMembersAlone) {
  const auto model = ScoredModel(1);
  std::vector<Trajectory> trajectories;
  for (uint64_t i = 0; i < 6; ++i) trajectories.push_back(AnyTrajectory(3 + i, true, i));
  trajectories[1].prompt_tokens = trajectories[0].prompt_tokens;  // shared rows
  trajectories[1] = support::RandomTrajectory({.prompt_tokens = 8}, 9);
  trajectories[2] = support::RandomTrajectory({.prompt_tokens = 8}, 10);
  trajectories[2].prompt_tokens = trajectories[1].prompt_tokens;
  std::vector<MaskPlan> plans;
  for (const Trajectory& t : trajectories) plans.push_back(MakeMaskPlan(t, {.draws = 2}, 0));
  std::vector<ScoreInput> inputs;
  std::vector<double> alone;
  for (size_t i = 0; i < plans.size(); ++i) {
    inputs.push_back({&trajectories[i], &plans[i]});
    for (const double x : Score(*model, trajectories[i], plans[i])) alone.push_back(x);
  }
  const auto together = ScoreTargets(*model, inputs, Boundary::kClean);
  ASSERT_TRUE(together.ok()) << together.status();
  EXPECT_THAT(HostNumbers(*together), Pointwise(DoubleNear(kRounding), alone));
}

TEST(TrajectoryScorerTest, PerturbingALaterBlockChangesNothingEarlier) {
  const auto model = ScoredModel(2);
  const Trajectory t = support::RandomTrajectory({.prompt_tokens = 5, .max_new_tokens = 15}, 3);
  const MaskPlan plan = MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0);
  const std::vector<double> before = Score(*model, t, plan);
  const std::vector<PlannedTarget> targets = PlannedTargets(plan);
  for (size_t b = 1; b < plan.blocks.size(); ++b) {
    Trajectory changed = t;
    for (int64_t i = plan.blocks[b].block.begin; i < plan.blocks[b].block.end; ++i) {
      changed.response_tokens[i] = (changed.response_tokens[i] + 1) % 11;
    }
    const std::vector<double> after = Score(*model, changed, plan);
    double later = 0;
    for (size_t i = 0; i < targets.size(); ++i) {
      if (targets[i].block < static_cast<int64_t>(b)) {
        EXPECT_EQ(before[i], after[i]);
      } else {
        later = std::max(later, std::abs(before[i] - after[i]));
      }
    }
    EXPECT_GT(later, kVisible);
  }
}

// Invariant 1, the scoring half: what is no target enters neither as one nor, where it was
// committed later, as context.
TEST(TrajectoryScorerTest, OnlyNewlyUnmaskedTokensAndWhatStoodBeforeThemMatter) {
  const auto model = ScoredModel(2);
  Trajectory t = support::RandomTrajectory({.prompt_tokens = 4, .max_new_tokens = 4}, 1);
  t.unmask_step = {0, 2, 1, 3};
  MaskPlan plan = MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0);
  plan.blocks[0].states = {plan.blocks[0].states[1]};  // step 2: token 1, given tokens 0 and 2
  plan.target_count = 2;
  const std::vector<double> before = Score(*model, t, plan);
  Trajectory changed = t;
  changed.response_tokens[3] = (t.response_tokens[3] + 1) % 11;  // committed later
  EXPECT_EQ(Score(*model, changed, plan), before);
  changed = t;
  changed.response_tokens[2] = (t.response_tokens[2] + 1) % 11;  // stood before
  const std::vector<double> after = Score(*model, changed, plan);
  EXPECT_EQ(after[0], before[0]);
  EXPECT_GT(std::abs(after[1] - before[1]), kVisible);
}

// A control that must fail: were re-masked rows to see their own clean block, they would see the
// answer.
TEST(TrajectoryScorerTest, RowsThatSeeTheirOwnCleanBlockScoreWrong) {
  torch::NoGradGuard no_grad;
  const auto model = ScoredModel(1);
  const Trajectory t = AnyTrajectory(5, true, 2);
  const MaskPlan plan = MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0);
  const ScoreInput input{&t, &plan};
  RemaskedBatch batch = *Remask({&input, 1}, {.mask_id = 12, .vocabulary_size = 13});
  const auto score = [&] {
    const torch::Tensor hidden = model->Forward(batch.rows);
    return HostNumbers(
        model::TargetLogProbs(*model, hidden.index_select(0, torch::tensor(batch.target_rows)),
                              torch::tensor(batch.target_tokens), 12));
  };
  const std::vector<double> right = score();
  ASSERT_LT(LargestDifference(right, Planned(TokenLogProbs(*model, t), plan)), kRounding);
  // Prompt block [0,4), clean block 0 [4,8), then block 0's states.
  model::Segment& first_state = batch.rows.segments[3];
  ASSERT_EQ(first_state.keys.front().end, 4);
  first_state.keys.front().end = 8;
  EXPECT_GT(LargestDifference(score(), right), kVisible);
}

// Another: the re-masked row before a block isn't what sampling read its first token from.
TEST(TrajectoryScorerTest, TheNoisyBoundaryIsNotExact) {
  const auto model = ScoredModel(1);
  const Trajectory t = AnyTrajectory(5, true, 2);
  const MaskPlan plan = MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0);
  const std::vector<double> oracle = Planned(TokenLogProbs(*model, t), plan);
  const std::vector<double> noisy = Score(*model, t, plan, Boundary::kNoisy);
  const std::vector<PlannedTarget> targets = PlannedTargets(plan);
  for (size_t i = 0; i < targets.size(); ++i) {
    const double difference = std::abs(noisy[i] - oracle[i]);
    if (targets[i].state == kFirstTokenState) {
      EXPECT_GT(difference, kVisible);
    } else {
      EXPECT_LT(difference, kRounding);
    }
  }
}

TEST(TrajectoryScorerTest, NothingToScoreIsAnEmptyTensor) {
  const auto model = ScoredModel(1);
  const auto scores = ScoreTargets(*model, {}, Boundary::kClean);
  ASSERT_TRUE(scores.ok());
  EXPECT_EQ(scores->numel(), 0);
}

}  // namespace
}  // namespace dtrpo::objective

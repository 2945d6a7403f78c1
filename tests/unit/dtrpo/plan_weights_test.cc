#include "common/dtrpo/plan_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/trajectory/plans/step_draws.h"

namespace dtrpo::objective {
namespace {

using job::Weighting;
using ::testing::DoubleEq;
using ::testing::Each;
using ::testing::ElementsAre;
using trajectory::MaskPlan;
using trajectory::Trajectory;

// P mod B = 0, B = 4: first token, then steps {1: two tokens}, {2: one}.
Trajectory OneBlock() {
  Trajectory t;
  t.id = "t";
  t.prompt_tokens = {1, 1, 1, 1};
  t.block_size = 4;
  t.response_tokens = {1, 2, 3, 4};
  t.unmask_step = {0, 1, 2, 1};
  return t;
}

// The plan whose only drawn state is the one of `step`.
MaskPlan Drawn(int32_t step) {
  MaskPlan plan = MakeMaskPlan(OneBlock(), {.kind = trajectory::PlanKind::kExact}, 0);
  auto& states = plan.blocks[0].states;
  states = {states[step - 1]};
  plan.target_count = 1 + static_cast<int64_t>(states[0].targets.size());
  trajectory::WeighDrawnSteps(&plan);
  return plan;
}

TEST(PlanWeightsTest, StepsWeighAsManyTimesAsTheyStandFor) {
  EXPECT_THAT(RatioWeights(Drawn(1), Weighting::kSteps, false), ElementsAre(1, 2, 2));
  EXPECT_THAT(RatioWeights(Drawn(2), Weighting::kSteps, false), ElementsAre(1, 2));
}

TEST(PlanWeightsTest, OneAndMeanAreTheBiasedOptions) {
  EXPECT_THAT(RatioWeights(Drawn(1), Weighting::kOne, false), ElementsAre(1, 1, 1));
  EXPECT_THAT(RatioWeights(Drawn(1), Weighting::kMean, false), ElementsAre(1, 1.5, 1.5));
  EXPECT_THAT(RatioWeights(Drawn(2), Weighting::kMean, false), ElementsAre(1, 3));
}

TEST(PlanWeightsTest, AllWeightingsAgreeInExactMode) {
  const MaskPlan exact = MakeMaskPlan(OneBlock(), {.kind = trajectory::PlanKind::kExact}, 0);
  for (const Weighting w : {Weighting::kSteps, Weighting::kOne, Weighting::kMean}) {
    EXPECT_THAT(RatioWeights(exact, w, false), Each(DoubleEq(1)));
    EXPECT_THAT(RatioWeights(exact, w, true), Each(DoubleEq(0.25)));
  }
}

TEST(PlanWeightsTest, LengthNormalisationCountsAllTargetsNotOnlyDrawnOnes) {
  EXPECT_THAT(RatioWeights(Drawn(2), Weighting::kSteps, true), ElementsAre(0.25, 0.5));
}

TEST(PlanWeightsTest, StalenessDividesByTheDrawsOfTheBlock) {
  EXPECT_THAT(StalenessWeights(Drawn(1)), ElementsAre(1, 1, 1));
  const MaskPlan both = MakeMaskPlan(OneBlock(), {.draws = 5}, 0);  // only two steps to draw
  EXPECT_THAT(StalenessWeights(both), ElementsAre(.5, .5, .5, .5));
}

TEST(PlanWeightsTest, PlannedTargetsFollowThePlanOrder) {
  const auto targets =
      PlannedTargets(MakeMaskPlan(OneBlock(), {.kind = trajectory::PlanKind::kExact}, 0));
  ASSERT_EQ(targets.size(), 4u);
  EXPECT_EQ(targets[0].index, 0);
  EXPECT_EQ(targets[0].state, kFirstTokenState);
  EXPECT_EQ(targets[1].index, 1);
  EXPECT_EQ(targets[2].index, 3);
  EXPECT_EQ(targets[2].state, 0);
  EXPECT_EQ(targets[3].index, 2);
  EXPECT_EQ(targets[3].state, 1);
}

// Two blocks of B = 4: steps {1: two, 2: two} and {1: three, 2: one}; drawn: step 1 of the second.
MaskPlan DrawnFromSequence() {
  Trajectory t;
  t.id = "t";
  t.prompt_tokens = {1};
  t.block_size = 4;
  t.block_origin = trajectory::BlockOrigin::kResponse;
  t.response_tokens = {1, 2, 3, 4, 5, 6, 7, 8};
  t.unmask_step = {1, 1, 2, 2, 1, 1, 1, 2};
  t.sampler.first_token = trajectory::FirstToken::kNone;
  MaskPlan plan = MakeMaskPlan(
      t, {.kind = trajectory::PlanKind::kExact, .draw_from = trajectory::DrawFrom::kSequence}, 0);
  plan.blocks[0].states.clear();
  plan.blocks[1].states.pop_back();
  plan.target_count = 3;
  trajectory::WeighDrawnSteps(&plan);
  return plan;
}

TEST(PlanWeightsTest, AStateDrawnFromTheSequenceStandsForAllOfIt) {
  const MaskPlan plan = DrawnFromSequence();
  EXPECT_THAT(RatioWeights(plan, Weighting::kSteps, false), ElementsAre(4, 4, 4));
  EXPECT_THAT(RatioWeights(plan, Weighting::kOne, false), ElementsAre(1, 1, 1));
  EXPECT_THAT(RatioWeights(plan, Weighting::kMean, false), Each(DoubleEq(8.0 / 3)));
  EXPECT_THAT(RatioWeights(plan, Weighting::kSteps, true), ElementsAre(.5, .5, .5));
  EXPECT_THAT(StalenessWeights(plan), ElementsAre(1, 1, 1));
}

}  // namespace
}  // namespace dtrpo::objective

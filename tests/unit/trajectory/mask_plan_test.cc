#include "common/trajectory/mask_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/trajectory/plans/step_draws.h"
#include "tests/support/random_trajectory.h"

namespace dtrpo::trajectory {
namespace {

using ::testing::ElementsAre;

// Reference scores and other people's results depend on the draws: they never change.
TEST(DrawTest, DrawsNeverChange) {
  EXPECT_THAT(DrawStepPositions(1, "add-1/0/0/0/0", 0, 0, 8, 1), ElementsAre(3));
  EXPECT_THAT(DrawStepPositions(1, "add-1/0/0/0/0", 0, 1, 8, 3), ElementsAre(2, 3, 4));
  EXPECT_THAT(DrawStepPositions(7, "add-1/0/0/0/1", 2, 5, 1000, 2), ElementsAre(968, 969));
}

TEST(DrawTest, EveryPartOfTheKeyMatters) {
  const auto draw = [](uint64_t seed, const std::string& id, int32_t use, int64_t block) {
    return DrawStepPositions(seed, id, use, block, 1 << 30, 1)[0];
  };
  const std::set<int32_t> different = {draw(1, "a", 0, 0), draw(2, "a", 0, 0), draw(1, "b", 0, 0),
                                       draw(1, "a", 1, 0), draw(1, "a", 0, 1)};
  EXPECT_EQ(different.size(), 5u);
  EXPECT_EQ(draw(1, "a", 0, 0), draw(1, "a", 0, 0));
}

TEST(DrawTest, DrawsAreWithoutReplacementAndWrapAround) {
  for (int32_t draws = 1; draws <= 7; ++draws) {
    const auto positions = DrawStepPositions(3, "t", 0, 0, 5, draws);
    ASSERT_EQ(positions.size(), static_cast<size_t>(std::min(draws, 5)));
    for (size_t j = 0; j < positions.size(); ++j) {
      EXPECT_EQ(positions[j], (positions[0] + static_cast<int32_t>(j)) % 5);
    }
  }
  EXPECT_THAT(DrawStepPositions(3, "t", 0, 0, 0, 2), ElementsAre());
}

// Draws from the sequence have numbers of their own, and never change either.
TEST(DrawTest, DrawsFromTheSequenceNeverChange) {
  EXPECT_THAT(DrawStatePositions(1, "add-1/0/0/0/0", 0, 8, 1), ElementsAre(7));
  EXPECT_THAT(DrawStatePositions(1, "add-1/0/0/0/0", 0, 8, 3), ElementsAre(7, 1, 4));
  EXPECT_THAT(DrawStatePositions(7, "add-1/0/0/0/1", 2, 1000, 2), ElementsAre(558, 58));
}

// Each state is drawn for exactly K of the T first positions, so weights T / K are unbiased.
TEST(DrawTest, DrawsFromTheSequenceHoldEachStateEquallyOften) {
  for (const int32_t states : {1, 5, 7, 12}) {
    for (int32_t draws = 1; draws <= states + 2; ++draws) {
      std::set<int32_t> first_positions;
      std::vector<int> held(states);
      for (int i = 0; i < 2000 && std::ssize(first_positions) < states; ++i) {
        const auto positions = DrawStatePositions(1, absl::StrCat(i), 0, states, draws);
        const std::set<int32_t> distinct(positions.begin(), positions.end());
        ASSERT_EQ(std::ssize(distinct), std::min(draws, states));
        if (!first_positions.insert(positions[0]).second) continue;
        for (const int32_t position : distinct) ++held[position];
      }
      EXPECT_THAT(held, ::testing::Each(std::min(draws, states)));
    }
  }
  EXPECT_THAT(DrawStatePositions(3, "t", 0, 0, 2), ElementsAre());
}

TEST(DrawTest, DrawsAreUniformOverTheSteps) {
  std::vector<int> counts(5);
  for (int i = 0; i < 5000; ++i) ++counts[DrawStepPositions(1, absl::StrCat(i), 0, 0, 5, 1)[0]];
  for (const int count : counts) EXPECT_NEAR(count, 1000, 150);  // 5 standard deviations
}

Trajectory TwoBlocks() {
  Trajectory t;  // P mod B = 2: block 0 holds responses 0, 1; block 1 holds 2..5
  t.id = "t";
  t.prompt_tokens = {5, 6};
  t.block_size = 4;
  t.response_tokens = {1, 2, 3, 4, 5, 6};
  t.unmask_step = {2, 1, 0, 2, 1, 2};
  t.sampler.max_new_tokens = 6;
  return t;
}

TEST(MaskPlanTest, ExactPlanHoldsEveryStepInOrder) {
  const MaskPlan plan = MakeMaskPlan(TwoBlocks(), {.kind = trajectory::PlanKind::kExact}, 0);
  ASSERT_EQ(plan.blocks.size(), 2u);
  EXPECT_EQ(plan.target_count, 6);
  EXPECT_EQ(plan.blocks[0].first_token, -1);  // begins in the prompt
  ASSERT_EQ(plan.blocks[0].states.size(), 2u);
  EXPECT_EQ(plan.blocks[0].steps, 2);
  EXPECT_EQ(plan.blocks[0].states[0].step, 1);
  EXPECT_THAT(plan.blocks[0].states[0].targets, ElementsAre(1));
  EXPECT_THAT(plan.blocks[0].states[1].targets, ElementsAre(0));
  EXPECT_EQ(plan.blocks[1].first_token, 2);
  EXPECT_EQ(plan.blocks[1].target_tokens, 3);
  EXPECT_THAT(plan.blocks[1].states[0].targets, ElementsAre(4));
  EXPECT_THAT(plan.blocks[1].states[1].targets, ElementsAre(3, 5));
}

TEST(MaskPlanTest, EnoughDrawsHoldEveryStep) {
  const MaskPlan plan = MakeMaskPlan(TwoBlocks(), {.draws = 9}, 0);
  EXPECT_EQ(plan.target_count, 6);
  EXPECT_EQ(plan.blocks[1].states.size(), 2u);
}

TEST(MaskPlanTest, OneDrawHoldsOneStepPerBlockAndTheFirstTokens) {
  const MaskPlan plan = MakeMaskPlan(TwoBlocks(), {.draws = 1}, 0);
  for (const BlockPlan& block : plan.blocks) EXPECT_EQ(block.states.size(), 1u);
  EXPECT_EQ(plan.blocks[1].first_token, 2);
}

// Invariant 1, the planning half: nothing but targets that the scored step unmasks.
TEST(MaskPlanTest, OnlyNewlyUnmaskedTargetsAreInAPlan) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const Trajectory t =
        support::RandomTrajectory({.prompt_tokens = 3 + static_cast<int64_t>(seed % 5),
                                   .max_new_tokens = 10,
                                   .stop_index = static_cast<int32_t>(seed % 9)},
                                  seed);
    ASSERT_TRUE(Validate(t).ok()) << Validate(t);
    const MaskPlan plan = MakeMaskPlan(t, {.draws = 2}, 0);
    for (const BlockPlan& block : plan.blocks) {
      for (const ScoredState& state : block.states) {
        ASSERT_FALSE(state.targets.empty());
        for (const int64_t i : state.targets) {
          EXPECT_TRUE(IsTarget(t, i));
          EXPECT_EQ(t.unmask_step[i], state.step);
        }
      }
    }
  }
}

TEST(MaskPlanTest, ABlockWithoutTargetsHasNoDraw) {
  Trajectory t = TwoBlocks();
  t.stop_index = 2;  // of block 1 only the block-first token is a target
  const MaskPlan plan = MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0);
  EXPECT_EQ(plan.blocks[1].steps, 0);
  EXPECT_TRUE(plan.blocks[1].states.empty());
  EXPECT_EQ(plan.blocks[1].first_token, 2);
  t.stop_index = 1;
  EXPECT_EQ(MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0).blocks[1].first_token, -1);
}

TEST(MaskPlanTest, ExcludedBoundaryLeavesFirstTokensOut) {
  const MaskPlan plan = MakeMaskPlan(
      TwoBlocks(), {.kind = trajectory::PlanKind::kExact, .boundary = Boundary::kExclude}, 0);
  EXPECT_EQ(plan.blocks[1].first_token, -1);
  EXPECT_EQ(plan.target_count, 5);
}

// Invariant 3, the planning half: a plan depends on what is scored, not on who scores it or how
// the answer was judged.
TEST(MaskPlanTest, PlansDependOnNothingButSeedIdUseAndSteps) {
  const Trajectory t = support::RandomTrajectory({.max_new_tokens = 20, .max_steps = 4}, 5);
  Trajectory judged = t;
  judged.reward = 1;
  judged.text = "text";
  judged.weights_version = {9};
  std::fill(judged.behaviour_logprob.begin(), judged.behaviour_logprob.end(), -7.f);
  for (int32_t use = 0; use < 4; ++use) {
    const MaskPlan a = MakeMaskPlan(t, {}, use), b = MakeMaskPlan(judged, {}, use);
    for (size_t i = 0; i < a.blocks.size(); ++i) {
      ASSERT_EQ(a.blocks[i].states.size(), b.blocks[i].states.size());
      for (size_t k = 0; k < a.blocks[i].states.size(); ++k) {
        EXPECT_EQ(a.blocks[i].states[k].step, b.blocks[i].states[k].step);
      }
    }
  }
}

TEST(MaskPlanTest, ADrawFromTheSequenceHoldsOneStateOfAllAndTheFirstTokens) {
  std::set<std::pair<int64_t, int32_t>> seen;
  for (int32_t use = 0; use < 60; ++use) {
    const MaskPlan plan = MakeMaskPlan(TwoBlocks(), {.draw_from = DrawFrom::kSequence}, use);
    EXPECT_EQ(plan.draw_from, DrawFrom::kSequence);
    EXPECT_EQ(plan.blocks[1].first_token, 2);
    int64_t states = 0;
    int64_t targets = 1;
    for (const BlockPlan& block : plan.blocks) {
      EXPECT_EQ(block.steps, 2);
      for (const ScoredState& state : block.states) {
        ++states;
        targets += std::ssize(state.targets);
        seen.emplace(state.block, state.step);
      }
    }
    EXPECT_EQ(states, 1);
    EXPECT_EQ(plan.target_count, targets);
  }
  EXPECT_EQ(seen.size(), 4u);
}

TEST(MaskPlanTest, AStateStandsForAllItWasDrawnWith) {
  const Trajectory t = TwoBlocks();  // two blocks of two steps
  EXPECT_EQ(StatesPerDraw(MakeMaskPlan(t, {}, 0), 1), 2);
  EXPECT_EQ(StatesPerDraw(MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0), 1), 1);
  const auto from_sequence = [&](int32_t draws) {
    return MakeMaskPlan(t, {.draws = draws, .draw_from = DrawFrom::kSequence}, 0);
  };
  EXPECT_EQ(StatesPerDraw(from_sequence(1), 0), 4);
  EXPECT_EQ(StatesPerDraw(from_sequence(1), 1), 4);  // also where nothing of it was drawn
  EXPECT_EQ(StatesPerDraw(from_sequence(3), 0), 4.0 / 3);
  EXPECT_EQ(StatesPerDraw(from_sequence(9), 0), 1);
  EXPECT_EQ(DrawnTogether(from_sequence(1), 1).size(), 2u);
  EXPECT_EQ(DrawnTogether(MakeMaskPlan(t, {}, 0), 1).size(), 1u);
}

TEST(MaskPlanTest, DrawFromWordsAreParsed) {
  EXPECT_EQ(*ParseDrawFrom("block"), DrawFrom::kBlock);
  EXPECT_EQ(*ParseDrawFrom("sequence"), DrawFrom::kSequence);
  EXPECT_THAT(std::string(ParseDrawFrom("word").status().message()), ::testing::HasSubstr("word"));
}

TEST(MaskPlanTest, BoundaryWordsAreParsed) {
  EXPECT_EQ(*ParseBoundary("clean"), Boundary::kClean);
  EXPECT_EQ(*ParseBoundary("noisy"), Boundary::kNoisy);
  EXPECT_EQ(*ParseBoundary("exclude"), Boundary::kExclude);
  EXPECT_THAT(std::string(ParseBoundary("dirty").status().message()),
              ::testing::HasSubstr("dirty"));
}

}  // namespace
}  // namespace dtrpo::trajectory

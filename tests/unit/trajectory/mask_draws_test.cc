// Plans of random masks: vrpo and random_mask, and the behaviour states beside them.
#include "common/trajectory/plans/mask_draws.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "tests/support/random_trajectory.h"

namespace dtrpo::trajectory {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;

constexpr PlanKind kRandomKinds[] = {PlanKind::kVrpo, PlanKind::kRandomMask};

// P mod B = 1: block 0 holds responses 0..2, block 1 a first token (3) and 4..6, of which 6 is
// behind the stop token.
Trajectory TwoBlocks() {
  Trajectory t;
  t.id = "t";
  t.prompt_tokens = {5};
  t.block_size = 4;
  t.response_tokens = {1, 2, 3, 4, 5, 6, 7};
  t.unmask_step = {2, 1, 1, 0, 2, 1, 2};
  t.behaviour_logprob.assign(7, -1);
  t.weights_version = {0};
  t.stop_index = 5;
  t.finish_reason = FinishReason::kStop;
  t.sampler.max_new_tokens = 20;
  return t;
}

Trajectory Bidirectional() {
  return support::RandomTrajectory(
      {.prompt_tokens = 5, .max_new_tokens = 11, .stop_index = 8, .bidirectional = true}, 3);
}

// Reference scores and other people's results depend on the masks: they never change.
TEST(MaskDrawTest, MasksNeverChange) {
  const MaskPlan plan = MakeMaskPlan(TwoBlocks(), {.kind = PlanKind::kVrpo, .draws = 3}, 2);
  std::vector<std::vector<int64_t>> targets;
  for (const BlockPlan& block : plan.blocks) {
    for (const ScoredState& state : block.states) targets.push_back(state.targets);
  }
  EXPECT_THAT(targets, ElementsAre(ElementsAre(2), ElementsAre(0, 1, 2), ElementsAre(0),
                                   ElementsAre(5), ElementsAre(4, 5), ElementsAre(5)));
}

TEST(MaskDrawTest, TargetsAndEverythingThatIsNoTargetAreMasked) {
  for (const PlanKind kind : kRandomKinds) {
    for (int32_t use = 0; use < 20; ++use) {
      const MaskPlan plan = MakeMaskPlan(TwoBlocks(), {.kind = kind, .draws = 2}, use);
      ASSERT_EQ(plan.blocks.size(), 2u);
      EXPECT_EQ(plan.blocks[1].first_token, 3);
      int64_t targets = 1;
      for (const BlockPlan& block : plan.blocks) {
        ASSERT_EQ(block.states.size(), 2u);
        for (const ScoredState& state : block.states) {
          EXPECT_EQ(state.step, kNoStep);
          ASSERT_FALSE(state.targets.empty());
          targets += std::ssize(state.targets);
          std::vector<int64_t> masked = state.targets;
          if (state.block == 1) masked.push_back(6);  // behind the stop token
          EXPECT_THAT(state.masked, ElementsAreArray(masked));
          EXPECT_EQ(std::count(masked.begin(), masked.end(), 3), 0) << "the first token stands";
        }
      }
      EXPECT_EQ(plan.target_count, targets);
    }
  }
}

TEST(MaskDrawTest, WeightsAreOneOverTheNoiseLevelOrEqual) {
  const MaskPlan elbo = MakeMaskPlan(TwoBlocks(), {.kind = PlanKind::kVrpo, .draws = 4}, 0);
  const MaskPlan random = MakeMaskPlan(TwoBlocks(), {.kind = PlanKind::kRandomMask, .draws = 4}, 0);
  for (size_t b = 0; b < 2; ++b) {
    for (const ScoredState& state : elbo.blocks[b].states) {
      const double t = static_cast<double>(state.targets.size()) / (b == 0 ? 3 : 2);
      EXPECT_DOUBLE_EQ(state.weight, 1 / t / 4);
    }
    for (const ScoredState& state : random.blocks[b].states) EXPECT_EQ(state.weight, 0.25);
  }
}

// Each mask of l of n targets has probability 1/n * 1/C(n, l), for a pair's second as for its first
// and for single draws.
TEST(MaskDrawTest, EveryMaskComesAsOftenAsItsNoiseLevelSays) {
  const Trajectory t = TwoBlocks();
  constexpr int kUses = 9000;
  for (const bool antithetic : {true, false}) {
    for (const size_t draw : {0, 1}) {
      std::map<std::vector<int64_t>, int> counts;
      for (int32_t use = 0; use < kUses; ++use) {
        const MaskPlan plan =
            MakeMaskPlan(t, {.kind = PlanKind::kVrpo, .draws = 2, .antithetic = antithetic}, use);
        ++counts[plan.blocks[0].states[draw].targets];
      }
      EXPECT_EQ(counts.size(), 7u);
      for (const auto& [targets, count] : counts) {
        const double expected = kUses / (targets.size() == 3 ? 3.0 : 9.0);
        EXPECT_NEAR(count, expected, 5 * std::sqrt(expected)) << "draw " << draw;
      }
    }
  }
}

TEST(MaskDrawTest, AntitheticMasksAreComplementaryButForOneToken) {
  const Trajectory t = Bidirectional();
  for (int32_t use = 0; use < 30; ++use) {
    const MaskPlan plan = MakeMaskPlan(t, {.kind = PlanKind::kVrpo, .draws = 5}, use);
    ASSERT_EQ(plan.blocks.size(), 1u);
    EXPECT_TRUE(plan.antithetic);
    const std::vector<ScoredState>& states = plan.blocks[0].states;
    ASSERT_EQ(states.size(), 5u);  // the last has no mate
    for (const size_t k : {0, 2}) {
      std::set<int64_t> both(states[k].targets.begin(), states[k].targets.end());
      both.insert(states[k + 1].targets.begin(), states[k + 1].targets.end());
      EXPECT_EQ(std::ssize(both), 9);
      EXPECT_EQ(states[k].targets.size() + states[k + 1].targets.size(), 10u);
    }
  }
}

TEST(MaskDrawTest, WhereBlocksBeginAtTheResponseItIsMaskedAsAWhole) {
  const Trajectory t = Bidirectional();
  std::set<int64_t> seen;
  for (int32_t use = 0; use < 30; ++use) {
    const MaskPlan plan = MakeMaskPlan(t, {.kind = PlanKind::kRandomMask}, use);
    ASSERT_EQ(plan.blocks.size(), 1u);
    const ScoredState& state = plan.blocks[0].states.at(0);
    seen.insert(state.targets.begin(), state.targets.end());
    for (int64_t i = 9; i < 12; ++i) {  // behind the stop token
      EXPECT_TRUE(std::binary_search(state.masked.begin(), state.masked.end(), i));
    }
  }
  EXPECT_EQ(seen.size(), 9u);
}

TEST(MaskDrawTest, PoliciesAndReferencesDrawTheSameAndUsesDiffer) {
  const auto masks = [](uint64_t seed, const std::string& id, int32_t use) {
    Trajectory t = Bidirectional();
    t.id = id;
    t.reward = static_cast<double>(use);  // judged meanwhile
    const MaskPlan plan =
        MakeMaskPlan(t, {.job_seed = seed, .kind = PlanKind::kVrpo, .draws = 4}, use);
    std::vector<std::vector<int64_t>> all;
    for (const ScoredState& state : plan.blocks[0].states) all.push_back(state.targets);
    return all;
  };
  EXPECT_EQ(masks(1, "a", 0), masks(1, "a", 0));
  EXPECT_NE(masks(1, "a", 0), masks(2, "a", 0));
  EXPECT_NE(masks(1, "a", 0), masks(1, "b", 0));
  EXPECT_NE(masks(1, "a", 0), masks(1, "a", 1));
}

TEST(MaskDrawTest, ABlockWithoutTargetsHasNoMask) {
  Trajectory t = TwoBlocks();
  t.stop_index = 3;  // of block 1 only the block-first token is a target
  for (const PlanKind kind : kRandomKinds) {
    const MaskPlan plan = MakeMaskPlan(t, {.kind = kind, .behaviour_states = true}, 0);
    EXPECT_THAT(plan.blocks[1].states, IsEmpty());
    EXPECT_EQ(plan.blocks[1].first_token, 3);
  }
}

// What the off-policy correction needs: the states that dTRPO with one draw scores.
TEST(MaskDrawTest, BehaviourStatesAreSampledOnesWithoutWeight) {
  for (const Trajectory& t : {TwoBlocks(), Bidirectional()}) {
    const bool whole = t.block_origin == BlockOrigin::kResponse;
    const MaskPlan sampled =
        MakeMaskPlan(t, {.draw_from = whole ? DrawFrom::kSequence : DrawFrom::kBlock}, 4);
    std::vector<std::vector<int64_t>> wanted;
    for (const BlockPlan& block : sampled.blocks) {
      for (const ScoredState& state : block.states) wanted.push_back(state.masked);
    }
    for (const PlanKind kind : kRandomKinds) {
      const MaskPlanOptions options = {.kind = kind, .draws = 2, .behaviour_states = true};
      const MaskPlan plan = MakeMaskPlan(t, options, 4);
      std::vector<std::vector<int64_t>> found;
      for (const BlockPlan& block : plan.blocks) {
        ASSERT_EQ(block.states.size(), 3u);
        EXPECT_GE(block.states.back().step, 1);
        EXPECT_EQ(block.states.back().weight, 0);
        found.push_back(block.states.back().masked);
      }
      EXPECT_EQ(found, wanted);
      Trajectory external = t;
      external.external = true;
      EXPECT_EQ(MakeMaskPlan(external, options, 4).blocks[0].states.size(), 2u);
    }
  }
}

TEST(MaskDrawTest, WordsOfObjectivesAreParsedAndKeysTellThemApart) {
  std::set<std::string> keys;
  for (const char* word : {"dtrpo", "exact", "vrpo", "random_mask"}) {
    const auto kind = ParsePlanKind(word);
    ASSERT_TRUE(kind.ok());
    EXPECT_EQ(PlanKindWord(*kind), word);
    for (const bool antithetic : {true, false}) {
      for (const bool behaviour : {true, false}) {
        keys.insert(
            PlanKey({.kind = *kind, .antithetic = antithetic, .behaviour_states = behaviour}));
      }
    }
  }
  EXPECT_EQ(keys.size(), 16u);
  EXPECT_THAT(std::string(ParsePlanKind("ppo").status().message()), ::testing::HasSubstr("'ppo'"));
}

}  // namespace
}  // namespace dtrpo::trajectory

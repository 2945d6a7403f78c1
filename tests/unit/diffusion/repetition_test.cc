#include "common/diffusion/repetition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "common/diffusion/sequence_state.h"
#include "common/diffusion/unmask_confidence.h"

namespace dtrpo::diffusion {
namespace {

using Stage = SequenceState::Stage;

TEST(EndsInCycleTest, ThreeRoundsAreACycle) {
  EXPECT_TRUE(EndsInCycle({9, 5, 5, 5}, 3));
  EXPECT_TRUE(EndsInCycle({9, 1, 2, 1, 2, 1, 2}, 6));
  EXPECT_TRUE(EndsInCycle({2, 1, 2, 1, 2, 1, 2}, 7));  // three and a half
}

TEST(EndsInCycleTest, FewerAreNone) {
  EXPECT_FALSE(EndsInCycle({1, 2, 3, 1, 2, 3}, 6));
  EXPECT_FALSE(EndsInCycle({5, 5, 5, 6}, 3));
  EXPECT_FALSE(EndsInCycle({5, 5}, 3));
}

// A sequence whose token at position p is tokens[p % size].
trajectory::Trajectory Answer(int32_t guard, const std::vector<int32_t>& tokens) {
  const StaticSteps policy(2);
  SequenceRules rules;
  rules.block_size = rules.sub_block = 4;
  rules.max_new_tokens = 14;
  rules.mask_id = 99;
  rules.token_shift = true;
  rules.repetition_guard = guard;
  rules.policy = &policy;
  SequenceState state(&rules, {1, 2, 3, 4, 5});
  for (int i = 0; i < 100 && state.stage() != Stage::kDone; ++i) {
    std::vector<Candidate> candidates;
    for (const TokenQuery& query : state.Queries()) {
      candidates.push_back({.token = tokens[query.position % tokens.size()]});
    }
    state.Advance(candidates);
  }
  trajectory::Trajectory t;
  state.FillTrajectory(&t);
  t.id = "t";
  t.weights_version = {0};
  t.sampler.max_new_tokens = rules.max_new_tokens;
  t.sampler.repetition_guard = guard;
  return t;
}

TEST(RepetitionGuardTest, EndsASequenceAtTheFirstBlockThatEndsInACycle) {
  const trajectory::Trajectory t = Answer(6, {7, 8});
  // Three tokens of the prompt's block, then a whole block: seven, of which the last six repeat.
  EXPECT_EQ(t.response_tokens.size(), 7u);
  EXPECT_EQ(t.finish_reason, trajectory::FinishReason::kRepetition);
  EXPECT_EQ(t.stop_index, -1);
  EXPECT_EQ(TargetCount(t), 7);
  EXPECT_TRUE(Validate(t).ok()) << Validate(t);
}

TEST(RepetitionGuardTest, LetsOtherSequencesRunToTheirLength) {
  for (const trajectory::Trajectory& t :
       {Answer(0, {7, 8}), Answer(6, {7, 8, 9}), Answer(15, {7, 8})}) {
    EXPECT_EQ(t.response_tokens.size(), 15u);
    EXPECT_EQ(t.finish_reason, trajectory::FinishReason::kLength);
    EXPECT_TRUE(Validate(t).ok()) << Validate(t);
  }
}

TEST(RepetitionGuardTest, ValidationRefusesTheReasonWithoutTheGuardOrWithMasks) {
  trajectory::Trajectory t = Answer(6, {7, 8});
  t.sampler.repetition_guard = 0;
  EXPECT_FALSE(Validate(t).ok());
  t = Answer(6, {7, 8});
  t.unmask_step[2] = trajectory::kNeverCommitted;
  t.response_tokens[2] = 99;
  EXPECT_FALSE(Validate(t).ok());
}

}  // namespace
}  // namespace dtrpo::diffusion

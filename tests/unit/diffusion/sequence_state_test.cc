#include "common/diffusion/sequence_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "common/diffusion/unmask_confidence.h"

namespace dtrpo::diffusion {
namespace {

using ::testing::ElementsAre;
using Stage = SequenceState::Stage;
using trajectory::FinishReason;

constexpr int32_t kMask = 99;
constexpr int32_t kStop = 50;

class SequenceStateTest : public ::testing::Test {
 protected:
  SequenceStateTest() {
    rules_.block_size = rules_.sub_block = 4;
    rules_.max_new_tokens = 6;
    rules_.mask_id = kMask;
    rules_.stop_ids = {kStop};
    rules_.token_shift = true;
    rules_.policy = &two_steps_;
  }

  static Candidate Token(int32_t token, float confidence = 0.5f) {
    return {token, -confidence, confidence};
  }

  // Answers the next queries with 100 + position, more confident to the left.
  static void AdvanceWithPositions(SequenceState* state) {
    std::vector<Candidate> candidates;
    for (const TokenQuery& q : state->Queries()) {
      candidates.push_back(Token(static_cast<int32_t>(100 + q.position), 1.0f / (1 + q.position)));
    }
    state->Advance(candidates);
  }

  static trajectory::Trajectory Run(SequenceState* state) {
    for (int i = 0; i < 1000 && state->stage() != Stage::kDone; ++i) AdvanceWithPositions(state);
    trajectory::Trajectory t;
    state->FillTrajectory(&t);
    return t;
  }

  static std::vector<int64_t> QueriedPositions(const SequenceState& state) {
    std::vector<int64_t> positions;
    for (const TokenQuery& q : state.Queries()) positions.push_back(q.position);
    return positions;
  }

  StaticSteps two_steps_{2};
  Threshold one_a_step_{1.0f};
  SequenceRules rules_;
};

TEST_F(SequenceStateTest, PromptTailSharesTheFirstBlockWhichHasNoFirstToken) {
  SequenceState state(&rules_, {1, 2, 3, 4, 5});
  EXPECT_EQ(state.prompt_rows(), 4);
  EXPECT_EQ(state.stage(), Stage::kDenoise);
  EXPECT_EQ(state.forward_position(), 4);
  EXPECT_THAT(state.forward_tokens(), ElementsAre(5, kMask, kMask, kMask));
  const std::vector<TokenQuery> queries = state.Queries();
  ASSERT_EQ(queries.size(), 3u);
  EXPECT_EQ(queries[0].position, 5);
  EXPECT_EQ(queries[0].row_position, 4);  // shift: the row before predicts
  EXPECT_EQ(queries[0].draw, 1);
}

TEST_F(SequenceStateTest, PromptThatEndsWithItsBlockGivesTheFirstTokenAtStepZero) {
  SequenceState state(&rules_, {1, 2, 3, 4});
  ASSERT_EQ(state.stage(), Stage::kFirstToken);
  const std::vector<TokenQuery> queries = state.Queries();
  ASSERT_EQ(queries.size(), 1u);
  EXPECT_EQ(queries[0].position, 4);
  EXPECT_EQ(queries[0].row_position, 3);
  EXPECT_EQ(queries[0].draw, 0);
  state.Advance({Token(7)});
  EXPECT_EQ(state.stage(), Stage::kDenoise);
  EXPECT_THAT(state.forward_tokens(), ElementsAre(7, kMask, kMask, kMask));
}

TEST_F(SequenceStateTest, CleanPassOfABlockGivesTheNextFirstToken) {
  SequenceState state(&rules_, {1, 2, 3, 4, 5});
  AdvanceWithPositions(&state);  // two of three masks
  EXPECT_EQ(state.stage(), Stage::kDenoise);
  AdvanceWithPositions(&state);
  ASSERT_EQ(state.stage(), Stage::kClean);
  EXPECT_THAT(state.forward_tokens(), ElementsAre(5, 105, 106, 107));
  EXPECT_THAT(QueriedPositions(state), ElementsAre(8));
  EXPECT_EQ(state.Queries()[0].row_position, 7);
  AdvanceWithPositions(&state);
  EXPECT_EQ(state.forward_position(), 8);
  EXPECT_THAT(state.forward_tokens(), ElementsAre(108, kMask, kMask, kMask));
}

TEST_F(SequenceStateTest, StepsStartAgainInEachBlockAndTheCanvasReachesTheEndOfItsBlock) {
  SequenceState state(&rules_, {1, 2, 3, 4, 5});
  const trajectory::Trajectory t = Run(&state);
  // M = 6 needs positions 5..10; the block of 10 ends at 12: seven response tokens.
  EXPECT_THAT(t.response_tokens, ElementsAre(105, 106, 107, 108, 109, 110, 111));
  EXPECT_THAT(t.unmask_step, ElementsAre(1, 1, 2, 0, 1, 1, 2));
  EXPECT_EQ(t.stop_index, -1);
  EXPECT_EQ(t.finish_reason, FinishReason::kLength);
  EXPECT_EQ(state.committed_targets(), 6);
}

TEST_F(SequenceStateTest, LastBlockHasNoCleanPass) {
  rules_.max_new_tokens = 3;
  SequenceState state(&rules_, {1, 2, 3, 4, 5});
  AdvanceWithPositions(&state);
  AdvanceWithPositions(&state);
  EXPECT_EQ(state.stage(), Stage::kDone);
}

TEST_F(SequenceStateTest, SubBlocksGoLeftToRightAndStepsCountOn) {
  rules_.sub_block = 2;
  rules_.policy = &one_a_step_;
  rules_.max_new_tokens = 4;
  SequenceState state(&rules_, {1, 2, 3, 4});
  state.Advance({Token(10)});
  EXPECT_THAT(QueriedPositions(state), ElementsAre(5));
  state.Advance({Token(11)});
  EXPECT_THAT(QueriedPositions(state), ElementsAre(6, 7));
  state.Advance({Token(12, 0.1f), Token(13, 0.2f)});
  EXPECT_THAT(QueriedPositions(state), ElementsAre(6));
  EXPECT_EQ(state.Queries()[0].draw, 3);
  state.Advance({Token(12)});
  trajectory::Trajectory t;
  state.FillTrajectory(&t);
  EXPECT_THAT(t.unmask_step, ElementsAre(0, 1, 3, 2));
}

TEST_F(SequenceStateTest, StaticStepsCountMasksPerSubBlock) {
  rules_.block_size = 8;
  rules_.sub_block = 4;
  rules_.max_new_tokens = 8;
  SequenceState state(&rules_, {1, 2, 3, 4, 5, 6, 7, 8});
  const trajectory::Trajectory t = Run(&state);
  // First sub-block: first token, then 3 masks as 2 + 1; second: 4 masks as 2 + 2.
  EXPECT_THAT(t.unmask_step, ElementsAre(0, 1, 1, 2, 3, 3, 4, 4));
}

TEST_F(SequenceStateTest, SubBlocksFilledByThePromptAreSkipped) {
  rules_.sub_block = 2;
  SequenceState state(&rules_, {1, 2, 3});
  EXPECT_THAT(QueriedPositions(state), ElementsAre(3));
  SequenceState later(&rules_, {1, 2});
  EXPECT_THAT(QueriedPositions(later), ElementsAre(2, 3));
}

TEST_F(SequenceStateTest, StopTokenWithAMaskBeforeItDoesNotEndSampling) {
  rules_.policy = &one_a_step_;
  SequenceState state(&rules_, {1, 2, 3, 4, 5});
  state.Advance({Token(10, 0.1f), Token(kStop, 0.9f), Token(12, 0.2f)});
  EXPECT_EQ(state.stage(), Stage::kDenoise);
  state.Advance({Token(10, 0.9f), Token(12, 0.2f)});
  ASSERT_EQ(state.stage(), Stage::kDone);
  trajectory::Trajectory t;
  state.FillTrajectory(&t);
  EXPECT_THAT(t.response_tokens, ElementsAre(10, kStop, kMask));
  EXPECT_THAT(t.unmask_step, ElementsAre(2, 1, -1));
  EXPECT_EQ(t.behaviour_logprob[2], 0.0f);
  EXPECT_EQ(t.stop_index, 1);
  EXPECT_EQ(t.finish_reason, FinishReason::kStop);
  EXPECT_EQ(state.committed_targets(), 2);
}

TEST_F(SequenceStateTest, StopAsFirstTokenEndsAtOnceAndKeepsTheBlocksMasks) {
  SequenceState state(&rules_, {1, 2, 3, 4});
  state.Advance({Token(kStop)});
  ASSERT_EQ(state.stage(), Stage::kDone);
  trajectory::Trajectory t;
  state.FillTrajectory(&t);
  EXPECT_THAT(t.response_tokens, ElementsAre(kStop, kMask, kMask, kMask));
  EXPECT_THAT(t.unmask_step, ElementsAre(0, -1, -1, -1));
}

TEST_F(SequenceStateTest, StopTokensOfThePromptDoNotCount) {
  SequenceState state(&rules_, {1, 2, 3, 4, kStop});
  EXPECT_EQ(Run(&state).finish_reason, FinishReason::kLength);
}

TEST_F(SequenceStateTest, CommittedTokensBehindTheStopAreNoTargets) {
  SequenceState state(&rules_, {1, 2, 3, 4, 5});
  state.Advance({Token(kStop, 0.8f), Token(11, 0.1f), Token(12, 0.9f)});
  ASSERT_EQ(state.stage(), Stage::kDone);
  trajectory::Trajectory t;
  state.FillTrajectory(&t);
  EXPECT_THAT(t.unmask_step, ElementsAre(1, -1, 1));
  EXPECT_EQ(t.stop_index, 0);
  EXPECT_EQ(state.committed_targets(), 1);
}

TEST_F(SequenceStateTest, ModelsWithoutShiftHaveNoStepZeroAndRunAFinishedBlockWithTheNext) {
  rules_.token_shift = false;
  SequenceState state(&rules_, {1, 2, 3, 4});
  ASSERT_EQ(state.stage(), Stage::kDenoise);
  EXPECT_EQ(state.Queries()[0].row_position, state.Queries()[0].position);
  AdvanceWithPositions(&state);
  AdvanceWithPositions(&state);
  ASSERT_EQ(state.stage(), Stage::kDenoise);
  EXPECT_EQ(state.forward_position(), 4);
  EXPECT_THAT(state.forward_tokens(), ElementsAre(104, 105, 106, 107, kMask, kMask, kMask, kMask));
  EXPECT_THAT(QueriedPositions(state), ElementsAre(8, 9, 10, 11));
  AdvanceWithPositions(&state);
  EXPECT_EQ(state.forward_position(), 8);
  EXPECT_THAT(Run(&state).unmask_step, ElementsAre(1, 1, 2, 2, 1, 1, 2, 2));
}

TEST_F(SequenceStateTest, BlocksOfOneTokenAreAllFirstTokens) {
  rules_.block_size = rules_.sub_block = 1;
  SequenceState state(&rules_, {1, 2});
  EXPECT_THAT(Run(&state).unmask_step, ElementsAre(0, 0, 0, 0, 0, 0));
}

TEST_F(SequenceStateTest, GreedyFirstTokensAreAskedForAsSuch) {
  rules_.greedy_first_token = true;
  SequenceState state(&rules_, {1, 2, 3, 4});
  EXPECT_TRUE(state.Queries()[0].greedy);
  AdvanceWithPositions(&state);
  EXPECT_FALSE(state.Queries()[0].greedy);
}

TEST_F(SequenceStateTest, NoRandomNumberIsUsedTwice) {
  rules_.block_size = 8;
  rules_.sub_block = 4;
  rules_.max_new_tokens = 20;
  rules_.policy = &one_a_step_;
  SequenceState state(&rules_, {1, 2, 3});
  std::vector<std::pair<int64_t, int32_t>> draws;
  while (state.stage() != Stage::kDone) {
    for (const TokenQuery& q : state.Queries()) draws.push_back({q.position, q.draw});
    AdvanceWithPositions(&state);
  }
  std::sort(draws.begin(), draws.end());
  EXPECT_EQ(std::adjacent_find(draws.begin(), draws.end()), draws.end());
}

TEST_F(SequenceStateTest, BidirectionalCanvasStandsFromTheStartAndBlocksFollowOneAnother) {
  rules_.bidirectional = true;
  SequenceState state(&rules_, std::vector<int32_t>{1, 2, 3});
  EXPECT_EQ(state.prompt_rows(), 0);
  EXPECT_EQ(state.forward_position(), 0);
  // P = 3, M = 6, B = 4: a canvas of two blocks from position 3 on.
  EXPECT_THAT(state.forward_tokens(),
              ElementsAre(1, 2, 3, kMask, kMask, kMask, kMask, kMask, kMask, kMask, kMask));
  EXPECT_EQ(state.stage(), Stage::kDenoise);  // no step-0 token although tokens are shifted
  EXPECT_THAT(QueriedPositions(state), ElementsAre(3, 4, 5, 6));
  EXPECT_EQ(state.Queries()[0].row_position, 2);
  AdvanceWithPositions(&state);
  EXPECT_THAT(QueriedPositions(state), ElementsAre(5, 6));
  AdvanceWithPositions(&state);
  EXPECT_EQ(state.stage(), Stage::kDenoise);  // the next block, without a clean pass
  EXPECT_EQ(state.forward_position(), 0);
  EXPECT_EQ(state.forward_tokens().size(), 11u);
  EXPECT_THAT(QueriedPositions(state), ElementsAre(7, 8, 9, 10));
  EXPECT_EQ(state.Queries()[0].draw, 1);
  const trajectory::Trajectory t = Run(&state);
  EXPECT_EQ(t.block_origin, trajectory::BlockOrigin::kResponse);
  EXPECT_THAT(t.response_tokens, ElementsAre(103, 104, 105, 106, 107, 108, 109, 110));
  EXPECT_THAT(t.unmask_step, ElementsAre(1, 1, 2, 2, 1, 1, 2, 2));
  EXPECT_EQ(t.finish_reason, FinishReason::kLength);
}

TEST_F(SequenceStateTest, BidirectionalSequencesThatStopKeepTheWholeCanvas) {
  rules_.bidirectional = true;
  SequenceState state(&rules_, std::vector<int32_t>{1});
  state.Advance(std::vector<Candidate>{Token(kStop, 0.9f), Token(7, 0.8f), Token(8), Token(9)});
  ASSERT_EQ(state.stage(), Stage::kDone);
  trajectory::Trajectory t;
  state.FillTrajectory(&t);
  EXPECT_EQ(t.stop_index, 0);
  EXPECT_THAT(t.response_tokens, ElementsAre(kStop, 7, kMask, kMask, kMask, kMask, kMask, kMask));
  EXPECT_THAT(t.unmask_step, ElementsAre(1, 1, -1, -1, -1, -1, -1, -1));
  EXPECT_EQ(state.committed_targets(), 1);
}

}  // namespace
}  // namespace dtrpo::diffusion

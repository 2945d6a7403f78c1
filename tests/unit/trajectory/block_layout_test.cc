#include "common/trajectory/block_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/random_trajectory.h"

namespace dtrpo::trajectory {
namespace {

using ::testing::ElementsAre;

TEST(BlockLayoutTest, PromptTailSharesTheFirstResponseBlock) {
  const auto blocks = ResponseBlocks(6, 10, 4, BlockOrigin::kAbsolute);  // rows 4..15
  ASSERT_EQ(blocks.size(), 3u);
  EXPECT_EQ(blocks[0].begin, 0);
  EXPECT_EQ(blocks[0].end, 2);  // rows 6 and 7
  EXPECT_EQ(blocks[0].position, 4);
  EXPECT_EQ(blocks[0].rows, 4);
  EXPECT_FALSE(blocks[0].starts_in_response);
  EXPECT_EQ(blocks[1].begin, 2);
  EXPECT_EQ(blocks[1].position, 8);
  EXPECT_TRUE(blocks[1].starts_in_response);
  EXPECT_EQ(blocks[2].end, 10);
}

TEST(BlockLayoutTest, WithoutATailTheFirstBlockBeginsInTheResponse) {
  const auto blocks = ResponseBlocks(8, 4, 4, BlockOrigin::kAbsolute);
  ASSERT_EQ(blocks.size(), 1u);
  EXPECT_EQ(blocks[0].position, 8);
  EXPECT_TRUE(blocks[0].starts_in_response);
}

TEST(BlockLayoutTest, ResponseOriginIgnoresThePrompt) {
  const auto blocks = ResponseBlocks(6, 8, 4, BlockOrigin::kResponse);
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_EQ(blocks[0].position, 6);
  EXPECT_EQ(blocks[0].end, 4);
  EXPECT_TRUE(blocks[0].starts_in_response);
  EXPECT_EQ(blocks[1].position, 10);
}

TEST(BlockLayoutTest, CanvasReachesTheEndOfTheBlockThatHoldsTheLastToken) {
  EXPECT_EQ(CanvasTokens(6, 1, 4, BlockOrigin::kAbsolute), 2);
  EXPECT_EQ(CanvasTokens(6, 2, 4, BlockOrigin::kAbsolute), 2);
  EXPECT_EQ(CanvasTokens(6, 3, 4, BlockOrigin::kAbsolute), 6);
  EXPECT_EQ(CanvasTokens(8, 4, 4, BlockOrigin::kAbsolute), 4);
  EXPECT_EQ(CanvasTokens(6, 3, 4, BlockOrigin::kResponse), 4);
}

TEST(BlockLayoutTest, TargetStepsLeaveOutStepZeroAndWhatLiesBehindTheStop) {
  Trajectory t;
  t.prompt_tokens = {1, 2, 3, 4};
  t.block_size = 4;
  t.response_tokens = {1, 2, 3, 4};
  t.unmask_step = {0, 3, 1, 2};
  t.stop_index = 2;  // the token of step 2 is context
  EXPECT_THAT(TargetSteps(t, ResponseBlocks(t)[0]), ElementsAre(1, 3));
  t.stop_index = 0;
  EXPECT_THAT(TargetSteps(t, ResponseBlocks(t)[0]), ElementsAre());
}

TEST(BlockLayoutTest, TargetsEndAtTheStopTokenAndAtMaxNewTokens) {
  Trajectory t = support::RandomTrajectory({.prompt_tokens = 5, .max_new_tokens = 9}, 1);
  EXPECT_EQ(t.response_tokens.size(), 11u);
  EXPECT_EQ(TargetCount(t), 9);
  EXPECT_TRUE(IsTarget(t, 8));
  EXPECT_FALSE(IsTarget(t, 9));
  EXPECT_FALSE(IsTarget(t, -1));
  t.stop_index = 3;
  EXPECT_EQ(TargetCount(t), 4);
  t.stop_index = 10;  // behind max_new_tokens
  EXPECT_EQ(TargetCount(t), 9);
}

}  // namespace
}  // namespace dtrpo::trajectory

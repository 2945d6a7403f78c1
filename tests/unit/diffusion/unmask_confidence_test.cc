#include "common/diffusion/unmask_confidence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/diffusion/masked_positions.h"

namespace dtrpo::diffusion {
namespace {

using ::testing::ElementsAre;

std::vector<int32_t> Chosen(const UnmaskPolicy& policy, const std::vector<float>& confidences) {
  const SubBlockProgress start{static_cast<int32_t>(confidences.size()), 0, 0};
  return policy.Select(start, WithConfidences(confidences)).chosen;
}

TEST(StaticStepsTest, DividesTheMasksAndGivesTheRemainderToTheFirstSteps) {
  EXPECT_THAT(TokensPerStep(StaticSteps(4), 8), ElementsAre(2, 2, 2, 2));
  EXPECT_THAT(TokensPerStep(StaticSteps(4), 7), ElementsAre(2, 2, 2, 1));
  EXPECT_THAT(TokensPerStep(StaticSteps(3), 8), ElementsAre(3, 3, 2));
  EXPECT_THAT(TokensPerStep(StaticSteps(1), 5), ElementsAre(5));
}

TEST(StaticStepsTest, SkipsEmptySteps) {
  EXPECT_THAT(TokensPerStep(StaticSteps(8), 3), ElementsAre(1, 1, 1));
}

TEST(StaticStepsTest, CommitsTheMostConfidentPositionsInOrder) {
  EXPECT_THAT(Chosen(StaticSteps(2), {0.1f, 0.9f, 0.2f, 0.8f}), ElementsAre(1, 3));
  EXPECT_THAT(Chosen(StaticSteps(2), {0.7f, 0.1f, 0.2f, 0.8f}), ElementsAre(0, 3));
}

TEST(StaticStepsTest, BreaksTiesByPosition) {
  EXPECT_THAT(Chosen(StaticSteps(2), {0.5f, 0.9f, 0.5f, 0.5f}), ElementsAre(0, 1));
}

TEST(ThresholdTest, CommitsAllAboveTheThreshold) {
  EXPECT_THAT(Chosen(Threshold(0.5), {0.6f, 0.4f, 0.51f, 0.5f}), ElementsAre(0, 2));
}

TEST(ThresholdTest, CommitsTheMostConfidentWhenNoneIsAbove) {
  EXPECT_THAT(Chosen(Threshold(0.9), {0.1f, 0.3f, 0.2f}), ElementsAre(1));
  EXPECT_THAT(Chosen(Threshold(1.0), {0.2f, 1.0f, 1.0f}), ElementsAre(1));
}

TEST(ThresholdTest, NeverCommitsFewerThanItsFallback) {
  EXPECT_THAT(Chosen(Threshold(0.9, 2), {0.1f, 0.3f, 0.95f, 0.2f}), ElementsAre(1, 2));
  EXPECT_THAT(Chosen(Threshold(0.9, 2), {0.91f, 0.92f, 0.1f, 0.93f}), ElementsAre(0, 1, 3));
  EXPECT_THAT(Chosen(Threshold(0.9, 5), {0.1f, 0.3f}), ElementsAre(0, 1));
}

TEST(FactorTest, TheMoreTokensTheMoreConfidentTheyMustBe) {
  // Factor 1: rank 2 needs 2/3, rank 3 needs 3/4, rank 4 needs 4/5.
  EXPECT_THAT(Chosen(Factor(1), {0.1f, 0.6f, 0.6f}), ElementsAre(1));
  EXPECT_THAT(Chosen(Factor(1), {0.7f, 0.1f, 0.7f}), ElementsAre(0, 2));
  EXPECT_THAT(Chosen(Factor(1), {0.8f, 0.76f, 0.9f, 0.76f}), ElementsAre(0, 1, 2));
  // Factor 2: 1/3, 1/2, 3/5.
  EXPECT_THAT(Chosen(Factor(2), {0.55f, 0.4f, 0.55f, 0.55f}), ElementsAre(0, 2, 3));
}

TEST(FactorTest, TheLastRankMustPassItsThresholdToo) {
  EXPECT_THAT(Chosen(Factor(1), {0.9f, 0.5f}), ElementsAre(0));
  EXPECT_THAT(Chosen(Factor(1), {0.9f, 0.9f, 0.7f}), ElementsAre(0, 1));
}

TEST(FactorTest, LargeFactorsCommitEverything) {
  EXPECT_THAT(Chosen(Factor(100), {0.01f, 0.0f, 0.02f}), ElementsAre(0, 1, 2));
}

}  // namespace
}  // namespace dtrpo::diffusion

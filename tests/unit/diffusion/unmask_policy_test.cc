#include "common/diffusion/unmask_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace dtrpo::diffusion {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// How many tokens each step commits when `masks` positions are to be unmasked.
std::vector<int32_t> TokensPerStep(const UnmaskPolicy& policy, int32_t masks) {
  std::vector<int32_t> counts;
  std::vector<float> confidences(masks, 0.5f);
  SubBlockProgress progress{masks, 0};
  while (!confidences.empty()) {
    counts.push_back(static_cast<int32_t>(policy.Select(progress, confidences).size()));
    confidences.resize(confidences.size() - counts.back());
    ++progress.step;
  }
  return counts;
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
  const SubBlockProgress start{4, 0};
  EXPECT_THAT(StaticSteps(2).Select(start, {0.1f, 0.9f, 0.2f, 0.8f}), ElementsAre(1, 3));
  EXPECT_THAT(StaticSteps(2).Select(start, {0.7f, 0.1f, 0.2f, 0.8f}), ElementsAre(0, 3));
}

TEST(StaticStepsTest, BreaksTiesByPosition) {
  EXPECT_THAT(StaticSteps(2).Select({4, 0}, {0.5f, 0.9f, 0.5f, 0.5f}), ElementsAre(0, 1));
}

TEST(ThresholdTest, CommitsAllAboveTheThreshold) {
  EXPECT_THAT(Threshold(0.5f).Select({4, 0}, {0.6f, 0.4f, 0.51f, 0.5f}), ElementsAre(0, 2));
}

TEST(ThresholdTest, CommitsTheMostConfidentWhenNoneIsAbove) {
  EXPECT_THAT(Threshold(0.9f).Select({3, 0}, {0.1f, 0.3f, 0.2f}), ElementsAre(1));
  EXPECT_THAT(Threshold(1.0f).Select({3, 0}, {0.2f, 1.0f, 1.0f}), ElementsAre(1));
}

TEST(ParseUnmaskPolicyTest, ReadsBothKinds) {
  auto steps = ParseUnmaskPolicy("steps:2");
  ASSERT_TRUE(steps.ok()) << steps.status();
  EXPECT_THAT(TokensPerStep(**steps, 4), ElementsAre(2, 2));
  auto threshold = ParseUnmaskPolicy("threshold:0.25");
  ASSERT_TRUE(threshold.ok()) << threshold.status();
  EXPECT_THAT((*threshold)->Select({2, 0}, {0.2f, 0.3f}), ElementsAre(1));
}

TEST(ParseUnmaskPolicyTest, QuotesWhatItCannotRead) {
  for (const std::string spec :
       {"", "steps", "steps:", "steps:0", "steps:-1", "steps:2.5", "threshold:", "threshold:1.5",
        "threshold:-0.1", "threshold:nan", "threshold:x", "entropy:1"}) {
    const auto policy = ParseUnmaskPolicy(spec);
    ASSERT_FALSE(policy.ok()) << spec;
    EXPECT_THAT(std::string(policy.status().message()), HasSubstr("'" + spec + "'"));
  }
}

}  // namespace
}  // namespace dtrpo::diffusion

#include "common/reward/pair_builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <utility>

namespace dtrpo::reward {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using trajectory::Trajectory;

// One sample per reward, all with different targets.
std::vector<Trajectory> Samples(std::initializer_list<double> rewards) {
  std::vector<Trajectory> samples;
  for (const double reward : rewards) {
    Trajectory& t = samples.emplace_back();
    t.reward = reward;
    t.response_tokens = {static_cast<int32_t>(samples.size()), 0};
    t.unmask_step = {1, 2};
  }
  return samples;
}

std::vector<std::pair<int64_t, int64_t>> Pairs(const std::vector<Trajectory>& samples,
                                               double min_gap, int32_t max_pairs,
                                               Pairing pairing = Pairing::kBestWorst) {
  std::vector<bool> right;
  for (const Trajectory& t : samples) right.push_back(t.reward >= .5);
  std::vector<std::pair<int64_t, int64_t>> pairs;
  for (const PairChoice& pair : BuildPairs(
           samples, right, {.pairing = pairing, .min_gap = min_gap, .max_pairs = max_pairs})) {
    pairs.emplace_back(pair.chosen, pair.rejected);
  }
  return pairs;
}

TEST(PairBuilderTest, BestGoesWithWorstSecondWithSecondWorst) {
  EXPECT_THAT(Pairs(Samples({.2, .9, .1, .8, .5}), 0, 9),
              ElementsAre(std::pair(1, 2), std::pair(3, 0)));
}

TEST(PairBuilderTest, StopsAtMaxPairs) {
  EXPECT_THAT(Pairs(Samples({.2, .9, .1, .8, .5}), 0, 1), ElementsAre(std::pair(1, 2)));
}

TEST(PairBuilderTest, TheGapMustExceedMinGap) {
  EXPECT_THAT(Pairs(Samples({1, 0.5, 0.5, 0}), 0.5, 9), ElementsAre(std::pair(0, 3)));
  EXPECT_THAT(Pairs(Samples({1, 0}), 1, 9), IsEmpty());
}

TEST(PairBuilderTest, EqualRewardsMakeNoPair) {
  EXPECT_THAT(Pairs(Samples({1, 1, 1}), 0, 9), IsEmpty());
  EXPECT_THAT(Pairs(Samples({1}), 0, 9), IsEmpty());
  EXPECT_THAT(Pairs({}, 0, 9), IsEmpty());
}

TEST(PairBuilderTest, TiesKeepTheOrderOfTheSamples) {
  // Sorted: 1 3 (reward 1), then 0 2 4 (reward 0).
  EXPECT_THAT(Pairs(Samples({0, 1, 0, 1, 0}), 0, 9), ElementsAre(std::pair(1, 4), std::pair(3, 2)));
}

TEST(PairBuilderTest, PairsWithEqualTargetsAreDroppedWithoutUsingUpMaxPairs) {
  auto samples = Samples({1, .9, .1, 0});
  samples[3].response_tokens = samples[0].response_tokens;
  EXPECT_THAT(Pairs(samples, 0, 1), ElementsAre(std::pair(1, 2)));
  // Context behind the stop token makes no difference, a different target does.
  samples[3].response_tokens[1] = 7;
  samples[0].stop_index = samples[3].stop_index = 0;
  EXPECT_THAT(Pairs(samples, 0, 1), ElementsAre(std::pair(1, 2)));
  samples[0].stop_index = samples[3].stop_index = 1;
  EXPECT_THAT(Pairs(samples, 0, 1), ElementsAre(std::pair(0, 3)));
}

TEST(PairBuilderTest, CancelledSamplesAreLeftOut) {
  auto samples = Samples({1, .5, 0});
  samples[0].finish_reason = trajectory::FinishReason::kCancelled;
  EXPECT_THAT(Pairs(samples, 0, 9), ElementsAre(std::pair(1, 2)));
}

TEST(CorrectWrongTest, EveryRightSampleGetsAWrongOneAsLongAsThereAreAny) {
  // Right: 1 3 4; wrong, worst first: 2 0.
  EXPECT_THAT(Pairs(Samples({.2, .9, .1, .8, .5}), 0, 9, Pairing::kCorrectWrong),
              ElementsAre(std::pair(1, 2), std::pair(3, 0), std::pair(4, 2)));
  EXPECT_THAT(Pairs(Samples({1, 1, 1}), 0, 9, Pairing::kCorrectWrong), IsEmpty());
  EXPECT_THAT(Pairs(Samples({0, 0}), 0, 9, Pairing::kCorrectWrong), IsEmpty());
}

TEST(CorrectWrongTest, StopsAtMaxPairsAndKeepsTheMargin) {
  EXPECT_THAT(Pairs(Samples({1, 0, 1, 0, 1}), 0, 2, Pairing::kCorrectWrong),
              ElementsAre(std::pair(0, 3), std::pair(2, 1)));
  // Best and second best are alike; a wrong one above .25 is too near to both.
  EXPECT_THAT(Pairs(Samples({1, .5, .4, .1}), .5, 9, Pairing::kCorrectWrong),
              ElementsAre(std::pair(0, 3)));
}

TEST(LengthBalancedTest, TakesOfEqualRewardsTheNearestLengths) {
  auto samples = Samples({1, 1, 0, 0});
  const auto lengthen = [&](size_t i, size_t length) {
    samples[i].response_tokens.resize(length, 9);
    samples[i].unmask_step.resize(length, 3);
  };
  lengthen(0, 10);
  lengthen(1, 3);
  lengthen(2, 4);
  lengthen(3, 20);
  EXPECT_THAT(Pairs(samples, 0, 9, Pairing::kLengthBalanced),
              ElementsAre(std::pair(1, 2), std::pair(0, 3)));
  EXPECT_THAT(Pairs(samples, 0, 9), ElementsAre(std::pair(0, 3), std::pair(1, 2)));
}

TEST(LengthBalancedTest, RewardsStillComeFirst) {
  auto samples = Samples({1, .5, 0});
  samples[0].response_tokens.resize(30, 9);
  samples[0].unmask_step.resize(30, 3);
  EXPECT_THAT(Pairs(samples, 0, 9, Pairing::kLengthBalanced), ElementsAre(std::pair(0, 2)));
  EXPECT_THAT(Pairs(Samples({1, 1}), 0, 9, Pairing::kLengthBalanced), IsEmpty());
}

}  // namespace
}  // namespace dtrpo::reward

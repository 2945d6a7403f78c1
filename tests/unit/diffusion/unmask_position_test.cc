#include "common/diffusion/unmask_position.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/unit/diffusion/masked_positions.h"

namespace dtrpo::diffusion {
namespace {

using ::testing::ElementsAre;

const std::vector<float> kFour = {0.1f, 0.9f, 0.2f, 0.8f};

TEST(SequentialTest, GoesFromLeftToRight) {
  EXPECT_THAT(PositionsPerStep(Sequential(1), WithConfidences(kFour)),
              ElementsAre(ElementsAre(0), ElementsAre(1), ElementsAre(2), ElementsAre(3)));
  EXPECT_THAT(PositionsPerStep(Sequential(3), WithConfidences(kFour)),
              ElementsAre(ElementsAre(0, 1, 2), ElementsAre(3)));
}

TEST(RandomPositionsTest, CommitsItsNumberInEveryStep) {
  EXPECT_THAT(TokensPerStep(RandomPositions(2), 5, 7), ElementsAre(2, 2, 1));
}

TEST(RandomPositionsTest, EveryOrderIsAsLikely) {
  constexpr int kRuns = 2400;
  std::map<std::vector<std::vector<int64_t>>, int> orders;
  for (uint64_t seed = 0; seed < kRuns; ++seed) {
    ++orders[PositionsPerStep(RandomPositions(1), WithConfidences(kFour), seed)];
  }
  ASSERT_EQ(orders.size(), 24u);
  // Mean 100, standard deviation below 10.
  for (const auto& [order, runs] : orders) EXPECT_NEAR(runs, 100, 40);
}

TEST(RandomPositionsTest, APositionsNumberDependsOnNothingButSeedPositionAndStep) {
  const RandomPositions policy(1);
  std::vector<MaskedPosition> masked = WithConfidences(kFour);
  const SubBlockProgress progress{4, 0, 11};
  const int32_t first = policy.Select(progress, masked).chosen[0];
  const int64_t position = masked[first].position;
  masked.erase(masked.begin() + (first == 0 ? 1 : 0));  // another one
  const int32_t again = policy.Select(progress, masked).chosen[0];
  EXPECT_EQ(masked[again].position, position);
}

}  // namespace
}  // namespace dtrpo::diffusion

#include "common/diffusion/unmask_entropy_bound.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/diffusion/masked_positions.h"

namespace dtrpo::diffusion {
namespace {

using ::testing::ElementsAre;

std::vector<int32_t> Chosen(double bound, const std::vector<float>& entropies) {
  return EntropyBound(bound).Select({}, WithEntropies(entropies)).chosen;
}

TEST(EntropyBoundTest, CommitsTheLowestEntropiesWhoseSumIsWithinTheBound) {
  EXPECT_THAT(Chosen(0.5, {0.25f, 2.0f, 0.125f, 0.25f}), ElementsAre(0, 2));
  EXPECT_THAT(Chosen(0.625, {0.25f, 2.0f, 0.125f, 0.25f}), ElementsAre(0, 2, 3));  // equal counts
  EXPECT_THAT(Chosen(10, {0.25f, 2.0f, 0.125f, 0.25f}), ElementsAre(0, 1, 2, 3));
}

TEST(EntropyBoundTest, CommitsOneEvenIfItIsBeyondTheBound) {
  EXPECT_THAT(Chosen(0, {3.0f, 2.0f, 2.0f}), ElementsAre(1));
}

TEST(EntropyBoundTest, BoundZeroCommitsAllThatAreCertain) {
  EXPECT_THAT(Chosen(0, {0.0f, 2.0f, 0.0f}), ElementsAre(0, 2));
}

TEST(EntropyBoundTest, AsksForEntropies) {
  EXPECT_TRUE(EntropyBound(1).needs().entropy);
  EXPECT_FALSE(EntropyBound(1).needs().margin);
}

}  // namespace
}  // namespace dtrpo::diffusion

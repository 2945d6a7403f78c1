#include "common/evaluation/pass_at_k.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>

namespace dtrpo::evaluation {
namespace {

// Counts the subsets of k of n answers, the first c of which are right, that hold a right one.
double ByEnumeration(int n, int c, int k) {
  int64_t subsets = 0, with_right = 0;
  for (uint32_t subset = 0; subset < (1u << n); ++subset) {
    if (std::popcount(subset) != k) continue;
    ++subsets;
    if ((subset & ((1u << c) - 1)) != 0) ++with_right;
  }
  return static_cast<double>(with_right) / static_cast<double>(subsets);
}

TEST(PassAtKTest, EqualsTheShareOfSubsetsThatHoldARightAnswer) {
  for (int n = 1; n <= 10; ++n) {
    for (int c = 0; c <= n; ++c) {
      for (int k = 1; k <= n; ++k) {
        EXPECT_NEAR(PassAtK(n, c, k), ByEnumeration(n, c, k), 1e-12) << n << " " << c << " " << k;
      }
    }
  }
}

TEST(PassAtKTest, OfOneIsTheShareOfRightAnswers) {
  EXPECT_DOUBLE_EQ(PassAtK(8, 3, 1), 3.0 / 8);
  EXPECT_DOUBLE_EQ(PassAtK(1, 1, 1), 1);
  EXPECT_DOUBLE_EQ(PassAtK(1, 0, 1), 0);
}

TEST(PassAtKTest, OverflowsNowhere) {
  // C(1000, 500) has 300 digits. One right answer is among half of all with probability 1/2.
  EXPECT_NEAR(PassAtK(1000, 1, 500), 0.5, 1e-12);
  EXPECT_NEAR(PassAtK(100000, 100000, 100), 1, 1e-12);
}

}  // namespace
}  // namespace dtrpo::evaluation

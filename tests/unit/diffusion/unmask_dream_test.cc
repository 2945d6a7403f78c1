#include "common/diffusion/unmask_dream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "tests/unit/diffusion/masked_positions.h"

namespace dtrpo::diffusion {
namespace {

using ::testing::ElementsAre;
using trajectory::DreamOrder;

Dream Policy(DreamOrder order, int32_t steps, double eps = 1e-3, double alg_temp = 0) {
  return Dream({order, steps, eps, alg_temp});
}

TEST(DreamTest, CommitsTheSharesOfTheSchedule) {
  // Time 1, 0.8, 0.6, 0.4, 0.2 (eps 0.2): shares 1/5, 1/4, 1/3, then the rest.
  EXPECT_THAT(TokensPerStep(Policy(DreamOrder::kMaskgitPlus, 4, 0.2), 20), ElementsAre(4, 4, 4, 8));
  // Rounded down: 7 * 1/5 = 1.4, 6 * 1/4 = 1.5, 5 * 1/3 = 1.67, the rest.
  EXPECT_THAT(TokensPerStep(Policy(DreamOrder::kMaskgitPlus, 4, 0.2), 7), ElementsAre(1, 1, 1, 4));
}

TEST(DreamTest, PassesOverStepsThatCommitNothing) {
  // As many steps as masks, the default eps: a little less than one is due at first, so nothing.
  const auto counts = TokensPerStep(Policy(DreamOrder::kMaskgitPlus, 4), 4);
  EXPECT_THAT(counts, ElementsAre(1, 1, 2));
  const Selection first = Policy(DreamOrder::kMaskgitPlus, 4)
                              .Select({4, 0, 0}, WithConfidences({0.1f, 0.2f, 0.3f, 0.4f}));
  EXPECT_EQ(first.steps, 2);
  EXPECT_THAT(first.chosen, ElementsAre(3));
}

TEST(DreamTest, OneStepCommitsAll) {
  for (const DreamOrder order : {DreamOrder::kOrigin, DreamOrder::kMaskgitPlus}) {
    EXPECT_THAT(TokensPerStep(Policy(order, 1), 6), ElementsAre(6));
  }
}

TEST(DreamTest, OrdersRankByTheirOwnNumber) {
  std::vector<MaskedPosition> masked(3);
  masked[0] = {.position = 0, .confidence = 0.9f, .entropy = 1.0f, .margin = 0.1f};
  masked[1] = {.position = 1, .confidence = 0.2f, .entropy = 0.5f, .margin = 0.2f};
  masked[2] = {.position = 2, .confidence = 0.3f, .entropy = 0.7f, .margin = 0.4f};
  const SubBlockProgress start{3, 0, 0};
  // eps 0.3 and two steps: 3 * 0.35 = 1.05.
  EXPECT_THAT(Policy(DreamOrder::kMaskgitPlus, 2, 0.3).Select(start, masked).chosen,
              ElementsAre(0));
  EXPECT_THAT(Policy(DreamOrder::kEntropy, 2, 0.3).Select(start, masked).chosen, ElementsAre(1));
  EXPECT_THAT(Policy(DreamOrder::kTopkMargin, 2, 0.3).Select(start, masked).chosen, ElementsAre(2));
  EXPECT_TRUE(Policy(DreamOrder::kEntropy, 2).needs().entropy);
  EXPECT_TRUE(Policy(DreamOrder::kTopkMargin, 2).needs().margin);
  EXPECT_FALSE(Policy(DreamOrder::kMaskgitPlus, 2).needs().entropy);
}

TEST(DreamTest, OriginUnmasksEachPositionByTheScheduleOnAverage) {
  const Dream policy = Policy(DreamOrder::kOrigin, 4, 0.2);
  // Time is 0.6 after two of the four schedule steps: so much is still masked then.
  constexpr int kRuns = 400;
  constexpr int kMasks = 10;
  int early = 0;
  for (uint64_t seed = 0; seed < kRuns; ++seed) {
    std::vector<MaskedPosition> masked = WithConfidences(std::vector<float>(kMasks, 0.5f));
    SubBlockProgress progress{kMasks, 0, seed};
    while (!masked.empty()) {
      const Selection selection = policy.Select(progress, masked);
      progress.step += selection.steps;
      if (progress.step > 2) break;
      early += static_cast<int>(selection.chosen.size());
      for (auto i = selection.chosen.rbegin(); i != selection.chosen.rend(); ++i) {
        masked.erase(masked.begin() + *i);
      }
    }
  }
  // Standard deviation: sqrt(0.4 * 0.6 / 4000) = 0.008.
  EXPECT_NEAR(early / static_cast<double>(kRuns * kMasks), 0.4, 0.04);
}

TEST(DreamTest, AlgTempDrawsWithTheProbabilitiesOfItsSoftmax) {
  const Dream policy = Policy(DreamOrder::kMaskgitPlus, 2, 0.3, 0.5);  // commits one of three
  const auto masked = WithConfidences({0.2f, 0.9f, 0.5f});
  constexpr int kRuns = 4000;
  std::vector<int> runs(3);
  for (uint64_t seed = 0; seed < kRuns; ++seed)
    ++runs[policy.Select({3, 0, seed}, masked).chosen[0]];
  const double total = std::exp(0.4) + std::exp(1.8) + std::exp(1.0);
  EXPECT_NEAR(runs[0] / double{kRuns}, std::exp(0.4) / total, 0.04);
  EXPECT_NEAR(runs[1] / double{kRuns}, std::exp(1.8) / total, 0.04);
  EXPECT_NEAR(runs[2] / double{kRuns}, std::exp(1.0) / total, 0.04);
}

}  // namespace
}  // namespace dtrpo::diffusion

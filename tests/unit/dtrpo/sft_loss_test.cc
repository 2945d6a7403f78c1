#include "common/dtrpo/sft_loss.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "common/dtrpo/plan_weights.h"
#include "tests/unit/dtrpo/step_oracle.h"

namespace dtrpo::objective {
namespace {

using ::testing::HasSubstr;
using trajectory::kBlockFirstStep;
using trajectory::kNeverCommitted;

constexpr int32_t kMask = 12;

// P = 5, B = 4: the answer's rows are 5..13, its blocks [0,3) [3,7) [7,11).
SftExample Example() {
  return {.prompt_tokens = {1, 2, 3, 4, 5}, .answer_tokens = {6, 7, 8, 9, 10, 1, 2, 3, 11}};
}

TEST(SftLossTest, BlockFirstTokensStayVisibleAndAreAlwaysTargets) {
  for (uint64_t stream = 0; stream < 50; ++stream) {
    const NoisedExample noised = NoiseExample(Example(), ScoredDescriptor(), 1, stream);
    EXPECT_EQ(noised.plan.blocks[0].first_token, -1);  // begins in the prompt
    EXPECT_EQ(noised.plan.blocks[1].first_token, 3);
    EXPECT_EQ(noised.plan.blocks[2].first_token, 7);
    EXPECT_EQ(noised.trajectory.unmask_step[3], kBlockFirstStep);
  }
}

TEST(SftLossTest, WithoutTokenShiftEveryTokenMayBeMasked) {
  int masked = 0;
  for (uint64_t stream = 0; stream < 50; ++stream) {
    const NoisedExample noised = NoiseExample(Example(), ScoredDescriptor(false), 1, stream);
    EXPECT_EQ(noised.plan.blocks[1].first_token, -1);
    masked += noised.trajectory.unmask_step[3] == 2 ? 1 : 0;
  }
  EXPECT_NEAR(masked, 25, 15);
}

TEST(SftLossTest, MaskFillsTheLastBlockWithoutTargets) {
  const NoisedExample noised = NoiseExample(Example(), ScoredDescriptor(), 1, 0);
  ASSERT_EQ(noised.trajectory.response_tokens.size(), 11u);
  for (const size_t i : {9u, 10u}) {
    EXPECT_EQ(noised.trajectory.response_tokens[i], kMask);
    EXPECT_EQ(noised.trajectory.unmask_step[i], kNeverCommitted);
  }
  for (const PlannedTarget& target : PlannedTargets(noised.plan)) EXPECT_LT(target.index, 9);
}

TEST(SftLossTest, MaskingRatesAreUniformPerBlock) {
  // A block of 3 maskable tokens holds m of them with probability 1/4 each, m = 0..3.
  std::vector<int> counts(4);
  for (uint64_t stream = 0; stream < 4000; ++stream) {
    const NoisedExample noised = NoiseExample(Example(), ScoredDescriptor(), 9, stream);
    ++counts[noised.plan.blocks[1].target_tokens];
  }
  for (const int count : counts) EXPECT_NEAR(count, 1000, 140);  // 5 standard deviations
}

TEST(SftLossTest, NoiseIsAFunctionOfSeedAndStream) {
  const auto steps = [](uint64_t seed, uint64_t stream) {
    return NoiseExample(Example(), ScoredDescriptor(), seed, stream).trajectory.unmask_step;
  };
  EXPECT_EQ(steps(1, 5), steps(1, 5));
  int different = 0;
  for (uint64_t stream = 0; stream < 20; ++stream) {
    different += steps(1, stream) != steps(2, stream) ? 1 : 0;
  }
  EXPECT_GT(different, 10);
}

TEST(SftLossTest, LossIsTheMeanOfTheStepByStepTerms) {
  const auto model = ScoredModel(1);
  std::vector<NoisedExample> examples;
  std::vector<double> terms;
  for (uint64_t stream = 0; stream < 4; ++stream) {
    examples.push_back(NoiseExample(Example(), model->descriptor(), 1, stream));
    const std::vector<double> oracle = TokenLogProbs(*model, examples.back().trajectory);
    for (const double x : Planned(oracle, examples.back().plan)) terms.push_back(x);
  }
  const auto loss = SftLoss(*model, examples);
  ASSERT_TRUE(loss.ok()) << loss.status();
  const double mean =
      std::accumulate(terms.begin(), terms.end(), 0.0) / static_cast<double>(terms.size());
  EXPECT_NEAR(loss->item<double>(), -mean, 1e-10);
  // The released rule reads block-first tokens elsewhere, so it must differ.
  EXPECT_GT(
      std::abs(SftLoss(*model, examples, trajectory::Boundary::kNoisy)->item<double>() + mean),
      1e-3);
}

TEST(SftLossTest, ABatchWithoutTargetsIsRefused) {
  const auto model = ScoredModel(1, /*token_shift=*/false);
  const SftExample one{.prompt_tokens = {1}, .answer_tokens = {2}};
  for (uint64_t stream = 0;; ++stream) {
    ASSERT_LT(stream, 100u);
    const NoisedExample noised = NoiseExample(one, model->descriptor(), 1, stream);
    if (noised.plan.target_count > 0) continue;
    EXPECT_THAT(std::string(SftLoss(*model, {&noised, 1}).status().message()),
                HasSubstr("masked no token"));
    break;
  }
}

}  // namespace
}  // namespace dtrpo::objective

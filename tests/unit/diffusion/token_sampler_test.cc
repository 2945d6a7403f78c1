#include "common/diffusion/token_sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace dtrpo::diffusion {
namespace {

using ::testing::ElementsAre;

constexpr int32_t kMask = 0;

// Logits of one row with the given probabilities; token 0 is the mask and gets the largest logit.
torch::Tensor Row(const std::vector<float>& probabilities) {
  std::vector<float> logits = {20.0f};
  for (const float p : probabilities) logits.push_back(std::log(p) + 3.0f);
  return torch::tensor(logits).unsqueeze(0);
}

std::vector<int32_t> TokensOf(const TokenSamplerOptions& options, const torch::Tensor& row,
                              const std::vector<double>& uniforms) {
  std::vector<RowDraw> draws;
  for (const double u : uniforms) draws.push_back({u, false});
  std::vector<int32_t> tokens;
  for (const Candidate& c :
       TokenSampler(options).Pick(row.repeat({static_cast<int64_t>(uniforms.size()), 1}), draws)) {
    tokens.push_back(c.token);
  }
  return tokens;
}

TEST(TokenSamplerTest, ArgmaxExcludesTheMaskAndTakesTheLowestOfEqualIds) {
  EXPECT_THAT(TokensOf({0, 1, 0, kMask}, Row({0.2f, 0.4f, 0.4f}), {0.99}), ElementsAre(2));
}

TEST(TokenSamplerTest, UniformNumbersFollowTheCumulativeProbabilities) {
  const TokenSamplerOptions options{1.0, 1, 0, kMask};
  EXPECT_THAT(
      TokensOf(options, Row({0.5f, 0.25f, 0.25f}), {0.0, 0.49, 0.51, 0.74, 0.76, 1 - 0x1.0p-53}),
      ElementsAre(1, 1, 2, 2, 3, 3));
}

TEST(TokenSamplerTest, TokensOfNoProbabilityAreNeverDrawn) {
  EXPECT_THAT(TokensOf({1.0, 1, 0, kMask}, Row({0.0f, 0.5f, 0.5f, 0.0f}), {0.0, 1 - 0x1.0p-53}),
              ElementsAre(2, 3));
}

TEST(TokenSamplerTest, TemperatureSharpensAndFlattens) {
  // At temperature 1/2 probabilities are squared: 0.9 and 0.1 become 0.988 and 0.012.
  EXPECT_THAT(TokensOf({0.5, 1, 0, kMask}, Row({0.9f, 0.1f}), {0.98, 0.99}), ElementsAre(1, 2));
  EXPECT_THAT(TokensOf({1e6, 1, 0, kMask}, Row({0.9f, 0.1f}), {0.49, 0.51}), ElementsAre(1, 2));
}

TEST(TokenSamplerTest, TopKKeepsTheMostProbable) {
  const torch::Tensor row = Row({0.1f, 0.4f, 0.2f, 0.3f});
  EXPECT_THAT(TokensOf({1.0, 1, 1, kMask}, row, {0.0, 0.999}), ElementsAre(2, 2));
  // 0.4 and 0.3 remain: 4/7 and 3/7.
  EXPECT_THAT(TokensOf({1.0, 1, 2, kMask}, row, {0.57, 0.58}), ElementsAre(2, 4));
}

TEST(TokenSamplerTest, TopKKeepsTheLowestOfEqualIds) {
  EXPECT_THAT(TokensOf({1.0, 1, 2, kMask}, Row({0.25f, 0.25f, 0.25f, 0.25f}), {0.0, 0.999}),
              ElementsAre(1, 2));
}

TEST(TokenSamplerTest, TopPKeepsTheShortestPrefixThatReachesIt) {
  const torch::Tensor row = Row({0.1f, 0.5f, 0.1f, 0.3f});
  EXPECT_THAT(TokensOf({1.0, 0.4, 0, kMask}, row, {0.0, 0.999}), ElementsAre(2, 2));
  // 0.5 and 0.3 remain: 5/8 and 3/8.
  EXPECT_THAT(TokensOf({1.0, 0.7, 0, kMask}, row, {0.62, 0.63, 0.999}), ElementsAre(2, 4, 4));
}

TEST(TokenSamplerTest, TopPCountsWhatTopKLeft) {
  // Of 0.5 and 0.3 (0.625 and 0.375 renormalised) the first alone reaches 0.6.
  EXPECT_THAT(TokensOf({1.0, 0.6, 2, kMask}, Row({0.1f, 0.5f, 0.1f, 0.3f}), {0.0, 0.999}),
              ElementsAre(2, 2));
}

TEST(TokenSamplerTest, LogProbabilitiesAreUntemperedAndUnfilteredWithoutTheMask) {
  const torch::Tensor row = Row({0.2f, 0.5f, 0.3f});
  for (const TokenSamplerOptions& options :
       {TokenSamplerOptions{0, 1, 0, kMask}, TokenSamplerOptions{0.1, 1, 0, kMask},
        TokenSamplerOptions{1, 0.1, 1, kMask}}) {
    const std::vector<Candidate> c = TokenSampler(options).Pick(row, {{0.5, false}});
    ASSERT_EQ(c[0].token, 2);
    EXPECT_NEAR(c[0].logprob, std::log(0.5), 1e-6);
    EXPECT_NEAR(c[0].confidence, 0.5, 1e-6);
  }
}

TEST(TokenSamplerTest, GreedyRowsIgnoreTheirUniform) {
  const torch::Tensor row = Row({0.3f, 0.7f}).repeat({2, 1});
  const std::vector<Candidate> c =
      TokenSampler({1.0, 1, 0, kMask}).Pick(row, {{0.1, false}, {0.1, true}});
  EXPECT_EQ(c[0].token, 1);
  EXPECT_EQ(c[1].token, 2);
}

TEST(TokenSamplerTest, RowsOfABatchDoNotInfluenceOneAnother) {
  torch::manual_seed(3);
  const torch::Tensor logits = torch::randn({16, 50}) * 3;
  std::vector<RowDraw> draws;
  for (int i = 0; i < 16; ++i) draws.push_back({i / 16.0, i % 5 == 0});
  for (const TokenSamplerOptions& options :
       {TokenSamplerOptions{1, 0.8, 0, kMask}, TokenSamplerOptions{0.7, 1, 5, kMask},
        TokenSamplerOptions{1.3, 0.5, 10, kMask}}) {
    const TokenSampler sampler(options);
    const std::vector<Candidate> together = sampler.Pick(logits, draws);
    for (int i = 0; i < 16; ++i) {
      const std::vector<Candidate> alone = sampler.Pick(logits.narrow(0, i, 1), {draws[i]});
      EXPECT_EQ(together[i].token, alone[0].token) << "row " << i;
      EXPECT_EQ(together[i].logprob, alone[0].logprob) << "row " << i;
    }
  }
}

TEST(TokenSamplerTest, NonFiniteLogitsShowInTheLogProbability) {
  for (const double temperature : {0.0, 1.0}) {
    torch::Tensor row = Row({0.5f, 0.5f});
    row[0][1] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<Candidate> c =
        TokenSampler({temperature, 1, 0, kMask}).Pick(row, {{0.5, false}});
    EXPECT_FALSE(std::isfinite(c[0].logprob));
  }
}

}  // namespace
}  // namespace dtrpo::diffusion

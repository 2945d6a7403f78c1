// What a candidate carries for the policy: numbers of the untempered distribution, or of what
// temperature and filters leave.
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <cmath>
#include <vector>

#include "common/diffusion/token_sampler.h"

namespace dtrpo::diffusion {
namespace {

constexpr int32_t kMask = 0;

// Logits of one row with the given probabilities; token 0 is the mask and gets the largest logit.
torch::Tensor Row(const std::vector<float>& probabilities) {
  std::vector<float> logits = {20.0f};
  for (const float p : probabilities) logits.push_back(std::log(p) + 3.0f);
  return torch::tensor(logits).unsqueeze(0);
}

TokenSamplerOptions Everything(bool tempered) {
  TokenSamplerOptions options;
  options.mask_id = kMask;
  options.tempered_confidence = tempered;
  options.needs = {.entropy = true, .margin = true};
  return options;
}

Candidate PickOne(const TokenSamplerOptions& options, const torch::Tensor& row, double uniform) {
  return TokenSampler(options).Pick(row, {{uniform, false}})[0];
}

double Entropy(const std::vector<double>& probabilities) {
  double sum = 0;
  for (const double p : probabilities) sum -= p * std::log(p);
  return sum;
}

TEST(ConfidenceTest, UntemperedNumbersIgnoreTemperatureAndFilters) {
  TokenSamplerOptions options = Everything(false);
  options.temperature = 0.5;
  options.top_k = 2;
  const Candidate c = PickOne(options, Row({0.2f, 0.5f, 0.3f}), 0.99);
  EXPECT_EQ(c.token, 3);
  EXPECT_NEAR(c.confidence, 0.3, 1e-6);
  EXPECT_NEAR(c.entropy, Entropy({0.2, 0.5, 0.3}), 1e-6);
  EXPECT_NEAR(c.margin, 0.2, 1e-6);
}

TEST(ConfidenceTest, TemperedNumbersAreOfWhatTemperatureAndFiltersLeave) {
  // At temperature 1/2 0.2, 0.5, 0.3 become 0.04, 0.25, 0.09; the best two: 25/34 and 9/34.
  TokenSamplerOptions options = Everything(true);
  options.temperature = 0.5;
  options.top_k = 2;
  const Candidate c = PickOne(options, Row({0.2f, 0.5f, 0.3f}), 0.99);
  EXPECT_EQ(c.token, 3);
  EXPECT_NEAR(c.confidence, 9.0 / 34, 1e-6);
  EXPECT_NEAR(c.entropy, Entropy({25.0 / 34, 9.0 / 34}), 1e-6);
  EXPECT_NEAR(c.margin, 16.0 / 34, 1e-6);
  EXPECT_NEAR(c.logprob, std::log(0.3), 1e-6);  // always untempered
}

TEST(ConfidenceTest, TemperedWithoutFilters) {
  TokenSamplerOptions options = Everything(true);
  options.temperature = 0.5;
  const Candidate c = PickOne(options, Row({0.2f, 0.5f, 0.3f}), 0.0);
  EXPECT_EQ(c.token, 1);
  EXPECT_NEAR(c.confidence, 4.0 / 38, 1e-6);
  EXPECT_NEAR(c.margin, 16.0 / 38, 1e-6);
}

TEST(ConfidenceTest, AtTemperatureZeroTheFiltersAloneCount) {
  TokenSamplerOptions options = Everything(true);
  options.top_p = 0.7;  // keeps 0.5 and 0.3
  const Candidate c = PickOne(options, Row({0.2f, 0.5f, 0.3f}), 0.99);
  EXPECT_EQ(c.token, 2);
  EXPECT_NEAR(c.confidence, 0.625, 1e-6);
  EXPECT_NEAR(c.margin, 0.25, 1e-6);
}

TEST(ConfidenceTest, ASingleTokenLeftIsCertain) {
  TokenSamplerOptions options = Everything(true);
  options.temperature = 1;
  options.top_k = 1;
  const Candidate c = PickOne(options, Row({0.2f, 0.5f, 0.3f}), 0.99);
  EXPECT_EQ(c.confidence, 1.0f);
  EXPECT_EQ(c.entropy, 0.0f);
  EXPECT_EQ(c.margin, 1.0f);
}

TEST(ConfidenceTest, WhatIsAskedForChangesNeitherTokenNorLogProbability) {
  torch::manual_seed(5);
  const torch::Tensor logits = torch::randn({32, 40}) * 3;
  std::vector<RowDraw> draws;
  for (int i = 0; i < 32; ++i) draws.push_back({i / 32.0, i % 7 == 0});
  for (const double temperature : {0.0, 0.8}) {
    TokenSamplerOptions plain;
    plain.temperature = temperature;
    plain.top_p = 0.9;
    plain.top_k = 12;
    const auto expected = TokenSampler(plain).Pick(logits, draws);
    for (const bool tempered : {false, true}) {
      TokenSamplerOptions options = plain;
      options.tempered_confidence = tempered;
      options.needs = {.entropy = true, .margin = true};
      const auto got = TokenSampler(options).Pick(logits, draws);
      for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_EQ(got[i].token, expected[i].token);
        EXPECT_EQ(got[i].logprob, expected[i].logprob);
      }
    }
  }
}

}  // namespace
}  // namespace dtrpo::diffusion

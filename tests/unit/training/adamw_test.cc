#include "common/training/adamw.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace dtrpo::training {
namespace {

using ::testing::HasSubstr;

NamedTensors TwoParameters() {
  return {{"matrix", torch::full({2, 2}, 0.5).requires_grad_(true)},
          {"norm", torch::full({2}, 1.0).requires_grad_(true)}};
}

void SetGradients(const NamedTensors& parameters, double value) {
  for (const auto& [name, parameter] : parameters) {
    torch::Tensor p = parameter;
    p.mutable_grad() = torch::full_like(p, value).detach();
  }
}

TEST(AdamWTest, FollowsTheFormulaForThreeSteps) {
  const NamedTensors parameters = TwoParameters();
  AdamW optimizer(parameters, {.weight_decay = 0.1});
  double weight = 0.5, norm = 1.0, m = 0, v = 0;
  const double gradients[] = {0.3, -0.2, 0.7}, rate = 0.01;
  for (int step = 1; step <= 3; ++step) {
    const double g = gradients[step - 1];
    SetGradients(parameters, g);
    optimizer.Step(rate);
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g * g;
    const double update =
        m / (1 - std::pow(0.9, step)) / (std::sqrt(v / (1 - std::pow(0.999, step))) + 1e-8);
    weight = weight * (1 - rate * 0.1) - rate * update;  // decoupled decay, on matrices only
    norm -= rate * update;
    EXPECT_NEAR(parameters[0].second[1][0].item<double>(), weight, 1e-6);
    EXPECT_NEAR(parameters[1].second[1].item<double>(), norm, 1e-6);
  }
}

TEST(AdamWTest, RestoredStateContinuesBitForBit) {
  const NamedTensors a = TwoParameters(), b = TwoParameters();
  AdamW first(a, {}), second(b, {});
  SetGradients(a, 0.25);
  first.Step(0.01);
  {
    torch::NoGradGuard no_grad;
    for (size_t i = 0; i < a.size(); ++i) b[i].second.set_data(a[i].second.detach().clone());
  }
  NamedTensors saved;
  for (const auto& [name, tensor] : first.State()) saved.emplace_back(name, tensor.clone());
  ASSERT_TRUE(second.Restore(saved).ok());
  SetGradients(a, -0.5);
  SetGradients(b, -0.5);
  first.Step(0.01);
  second.Step(0.01);
  for (size_t i = 0; i < a.size(); ++i)
    EXPECT_TRUE(torch::equal(a[i].second, b[i].second)) << a[i].first;
}

TEST(AdamWTest, AStateWithAMissingOrMisshapenTensorIsRefusedByName) {
  AdamW optimizer(TwoParameters(), {});
  NamedTensors state = optimizer.State();
  state[0].second = torch::zeros({3});
  EXPECT_THAT(std::string(optimizer.Restore(state).message()),
              HasSubstr("adamw.exp_avg.matrix has another shape"));
  state.erase(state.begin());
  EXPECT_THAT(std::string(optimizer.Restore(state).message()),
              HasSubstr("adamw.exp_avg.matrix is missing"));
}

TEST(AdamWTest, GradientNormSeesEveryParameterAndIsNotFiniteWhenOneIsNot) {
  const NamedTensors parameters = TwoParameters();
  AdamW optimizer(parameters, {});
  EXPECT_EQ(optimizer.GradientNorm(), 0);
  SetGradients(parameters, 2);
  EXPECT_NEAR(optimizer.GradientNorm(), std::sqrt(6 * 4.0), 1e-6);
  optimizer.ScaleGradients(0.5);
  EXPECT_NEAR(optimizer.GradientNorm(), std::sqrt(6 * 1.0), 1e-6);
  parameters[1].second.mutable_grad()[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(std::isfinite(optimizer.GradientNorm()));
}

}  // namespace
}  // namespace dtrpo::training

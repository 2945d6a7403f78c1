// Gradients against finite differences, in float64.
#pragma once

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>

#include "common/model/transformer.h"

namespace dtrpo::model {

// About five values of each tensor; `loss` is a function of them. A gradient may differ by 1e-6,
// or, `relative`, by 1e-6 (1 + |slope|).
inline void ExpectGradientsOfDifferences(const NamedTensors& tensors,
                                         const std::function<torch::Tensor()>& loss,
                                         bool relative = false) {
  loss().backward();
  torch::NoGradGuard no_grad;
  constexpr double kStep = 1e-5;
  for (const auto& [name, tensor] : tensors) {
    ASSERT_TRUE(tensor.grad().defined()) << name;
    torch::Tensor flat = tensor.view(-1);
    const int64_t stride = std::max<int64_t>(1, flat.numel() / 5);
    for (int64_t i = 0; i < flat.numel(); i += stride) {
      const double value = flat[i].item<double>();
      flat[i] = value + kStep;
      const double above = loss().item<double>();
      flat[i] = value - kStep;
      const double below = loss().item<double>();
      flat[i] = value;
      const double slope = (above - below) / (2 * kStep);
      EXPECT_NEAR(tensor.grad().view(-1)[i].item<double>(), slope,
                  1e-6 * (relative ? 1 + std::abs(slope) : 1))
          << name << "[" << i << "]";
    }
  }
}

}  // namespace dtrpo::model

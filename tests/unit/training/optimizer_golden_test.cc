// Schedules, clipping and AdamW against torch's (tests/golden/make_optimizer_fixtures.py).
#include <gtest/gtest.h>
#include <torch/types.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/file_system.h"
#include "common/training/adamw.h"
#include "common/training/learning_rate.h"

namespace dtrpo::training {
namespace {

using nlohmann::json;

torch::Tensor Matrix(const json& rows) {
  std::vector<torch::Tensor> tensors;
  for (const json& row : rows) tensors.push_back(torch::tensor(row.get<std::vector<float>>()));
  return torch::stack(tensors);
}

torch::Tensor Vector(const json& values) { return torch::tensor(values.get<std::vector<float>>()); }

TEST(OptimizerGoldenTest, RatesNormsAndWeightsAreThoseOfTorch) {
  const auto text = base::PosixFileSystem()->Read(
      absl::StrCat(DTRPO_SOURCE_DIR, "/tests/golden/optimizer/expected.json"));
  ASSERT_TRUE(text.ok()) << text.status();
  const json golden = json::parse(*text);
  ASSERT_EQ(golden["cases"].size(), 6u);
  for (const json& c : golden["cases"]) {
    const std::string schedule = c["schedule"];
    job::TrainingSpec spec;
    spec.steps = static_cast<int64_t>(c["steps"].size());
    spec.learning_rate = golden["learning_rate"];
    spec.final_learning_rate_ratio = golden["final_learning_rate_ratio"];
    spec.warmup_steps = c["warmup_steps"];
    spec.schedule = schedule == "constant" ? job::Schedule::kConstant
                    : schedule == "linear" ? job::Schedule::kLinear
                                           : job::Schedule::kCosine;
    SCOPED_TRACE(absl::StrCat(schedule, ", warm-up ", spec.warmup_steps));
    torch::Tensor matrix = Matrix(c["matrix"]).requires_grad_();
    torch::Tensor vector = Vector(c["vector"]).requires_grad_();
    AdamW optimizer({{"matrix", matrix}, {"vector", vector}},
                    {.weight_decay = golden["weight_decay"]});
    const double limit = golden["max_gradient_norm"];
    int clipped = 0;
    for (int64_t step = 1; step <= spec.steps; ++step) {
      SCOPED_TRACE(absl::StrCat("step ", step));
      const json& expected = c["steps"][step - 1];
      matrix.mutable_grad() = Matrix(expected["matrix_gradient"]);
      vector.mutable_grad() = Vector(expected["vector_gradient"]);
      const double norm = optimizer.GradientNorm();
      EXPECT_NEAR(norm, expected["norm"].get<double>(), 1e-6);
      if (norm > limit) {
        optimizer.ScaleGradients(limit / norm);
        ++clipped;
      }
      const double rate = LearningRate(spec, step);
      EXPECT_NEAR(rate, expected["rate"].get<double>(), 1e-12);
      optimizer.Step(rate);
      EXPECT_TRUE(torch::allclose(matrix.detach(), Matrix(expected["matrix"]), 1e-5, 1e-6));
      EXPECT_TRUE(torch::allclose(vector.detach(), Vector(expected["vector"]), 1e-5, 1e-6));
    }
    EXPECT_GT(clipped, 0);
  }
}

}  // namespace
}  // namespace dtrpo::training

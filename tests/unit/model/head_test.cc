#include "common/model/head.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

namespace dtrpo::model {
namespace {

// Vocabularies below, at and beside whole tiles; numbers of rows on both sides of the bound.
TEST(HeadTest, LogitsAreTheProductWhateverTheShape) {
  torch::manual_seed(3);
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    for (const int64_t vocabulary : {7, 512, 1024, 1025, 2300}) {
      const torch::Tensor weight = torch::randn({vocabulary, 24}, dtype);
      for (const int64_t rows : {0, 1, 5, 128, 129}) {
        const torch::Tensor hidden = torch::randn({rows, 24}, dtype);
        const torch::Tensor logits = HeadLogits(hidden, weight);
        const torch::Tensor expected =
            (hidden.unsqueeze(1) * weight.unsqueeze(0)).sum(2);  // [r, V]
        ASSERT_EQ(logits.sizes(), expected.sizes());
        EXPECT_TRUE(torch::allclose(logits, expected, 1e-5, 1e-4)) << vocabulary << " " << rows;
      }
    }
  }
}

}  // namespace
}  // namespace dtrpo::model

#include "common/model/target_log_probs.h"

#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>

#include "tests/unit/model/test_model.h"

namespace dtrpo::model {
namespace {

constexpr int64_t kMask = 3;

class TargetLogProbsTest : public testing::Test {
 protected:
  // The definition, word by word.
  torch::Tensor Obvious(const torch::Tensor& hidden) const {
    const torch::Tensor masked =
        model_->Head(hidden).index_fill(1, torch::tensor({kMask}), -INFINITY);
    return masked.log_softmax(1).gather(1, targets_.unsqueeze(1)).squeeze(1);
  }

  std::unique_ptr<Transformer> model_ = TinyTransformer(TinyDescriptor(), {torch::kFloat64, true});
  torch::Tensor hidden_ = torch::randn({7, 8}, torch::kFloat64);
  torch::Tensor targets_ = torch::tensor({0, 5, 10, 4, 4, 1, 2});
};

TEST_F(TargetLogProbsTest, IsTheLogSoftmaxWithoutTheMask) {
  const torch::Tensor result = TargetLogProbs(*model_, hidden_, targets_, kMask);
  EXPECT_LT(MaxDifference(result, Obvious(hidden_)), 1e-12);
  torch::Tensor total = torch::zeros({7}, torch::kFloat64);
  for (int64_t token = 0; token < 11; ++token) {
    if (token == kMask) continue;
    total += TargetLogProbs(*model_, hidden_, torch::full({7}, token), kMask).exp();
  }
  EXPECT_LT(MaxDifference(total, torch::ones({7}, torch::kFloat64)), 1e-12);
}

TEST_F(TargetLogProbsTest, TheMaskItselfIsImpossible) {
  const torch::Tensor result = TargetLogProbs(*model_, hidden_, torch::full({7}, kMask), kMask);
  EXPECT_TRUE(result.isneginf().all().item<bool>());
}

TEST_F(TargetLogProbsTest, GradientsEqualThoseOfTheObviousFormWhateverTheChunk) {
  const torch::Tensor weights = torch::randn({7}, torch::kFloat64);
  const torch::Tensor head = model_->HeadWeight();
  const torch::Tensor leaf = hidden_.clone().requires_grad_();
  const auto expected = torch::autograd::grad({(Obvious(leaf) * weights).sum()}, {leaf, head});
  for (const int64_t rows_per_chunk : {1, 2, 3, 7, 100}) {
    const torch::Tensor result =
        TargetLogProbs(*model_, leaf, targets_, kMask, rows_per_chunk * 11);
    EXPECT_LT(MaxDifference(result, Obvious(leaf)), 1e-12) << rows_per_chunk;
    const auto gradients = torch::autograd::grad({(result * weights).sum()}, {leaf, head});
    EXPECT_LT(MaxDifference(gradients[0], expected[0]), 1e-12) << rows_per_chunk;
    EXPECT_LT(MaxDifference(gradients[1], expected[1]), 1e-12) << rows_per_chunk;
  }
}

TEST_F(TargetLogProbsTest, ComputesInFloat32WhenTheModelIsNarrower) {
  const auto narrow = Transformer::FromTensors(TinyDescriptor(), model_->NamedParameters(),
                                               {torch::kBFloat16, false});
  ASSERT_TRUE(narrow.ok()) << narrow.status();
  const torch::Tensor result =
      TargetLogProbs(**narrow, hidden_.to(torch::kBFloat16), targets_, kMask);
  EXPECT_EQ(result.scalar_type(), torch::kFloat32);
  EXPECT_LT(MaxDifference(result, Obvious(hidden_).to(torch::kFloat32)), 0.2);
}

TEST_F(TargetLogProbsTest, NoTargetsGiveAnEmptyTensorThatStillHasAGraph) {
  const torch::Tensor leaf = torch::zeros({0, 8}, torch::kFloat64).requires_grad_();
  const torch::Tensor result =
      TargetLogProbs(*model_, leaf, torch::zeros({0}, torch::kInt64), kMask);
  EXPECT_EQ(result.numel(), 0);
  EXPECT_TRUE(result.requires_grad());
}

}  // namespace
}  // namespace dtrpo::model

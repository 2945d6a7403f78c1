#include "common/model/transformer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "common/model/torch_boundary.h"
#include "tests/unit/model/gradient_check.h"
#include "tests/unit/model/test_model.h"

namespace dtrpo::model {
namespace {

using testing::HasSubstr;

const LoadOptions kDouble = {torch::kFloat64, false};

std::vector<int64_t> Tokens(int64_t count, int64_t seed) {
  std::vector<int64_t> tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back(4 + (i * i + 3 * i + seed) % 7);
  return tokens;
}

// The rows of `parts` one after another; keys move along.
RowBatch Concatenate(const std::vector<RowBatch>& parts) {
  RowBatch all;
  for (const RowBatch& part : parts) {
    const int64_t shift = all.token_ids.size();
    all.token_ids.insert(all.token_ids.end(), part.token_ids.begin(), part.token_ids.end());
    all.positions.insert(all.positions.end(), part.positions.begin(), part.positions.end());
    for (Segment segment : part.segments) {
      segment.begin += shift;
      segment.end += shift;
      for (KeyRange& range : segment.keys) range = {range.begin + shift, range.end + shift};
      all.segments.push_back(segment);
    }
  }
  return all;
}

TEST(TransformerTest, SequencesThatShareAForwardDoNotFeelEachOther) {
  torch::NoGradGuard no_grad;
  const auto model = TinyTransformer(TinyDescriptor(), kDouble);
  const RowBatch a = BlockCausalRows(Tokens(10, 0), 4), b = BlockCausalRows(Tokens(4, 5), 4),
                 c = BlockCausalRows(Tokens(10, 2), 4);
  const torch::Tensor alone = torch::cat({model->Forward(a), model->Forward(b), model->Forward(c)});
  EXPECT_LT(MaxDifference(model->Forward(Concatenate({a, b, c})), alone), 1e-12);
}

TEST(TransformerTest, CachedForwardsEqualTheOneWithoutACache) {
  torch::NoGradGuard no_grad;
  const auto model = TinyTransformer(TinyDescriptor(), kDouble);
  const std::vector<int64_t> noisy = {4, 5, 6, 7, 8, 3, 3, 9}, clean = {4, 5, 6, 7, 8, 10, 5, 9};
  KvCache cache(model->descriptor(), 40, torch::kFloat64);
  EXPECT_EQ(KvCache::RowBytes(model->descriptor(), torch::kFloat64), 2 * 2 * 2 * 4 * 8);
  // The sequence's rows lie at 20.. of the cache; block 1 is denoised in place, then made clean.
  auto run_block = [&](const std::vector<int64_t>& tokens, int64_t block) {
    RowBatch batch;
    for (int64_t i = 4 * block; i < 4 * block + 4; ++i) {
      batch.token_ids.push_back(tokens[i]);
      batch.positions.push_back(i);
      batch.cache_rows.push_back(20 + i);
    }
    batch.segments = {{0, 4, {{20, 20 + 4 * block + 4}}}};
    return model->Forward(batch, &cache);
  };
  const torch::Tensor reference = model->Forward(TwoHalfRows(noisy, clean, 4));  // noisy, clean
  EXPECT_LT(MaxDifference(run_block(clean, 0), reference.narrow(0, 8, 4)), 1e-12);
  EXPECT_LT(MaxDifference(run_block(noisy, 1), reference.narrow(0, 4, 4)), 1e-12);
  EXPECT_LT(MaxDifference(run_block(clean, 1), reference.narrow(0, 12, 4)), 1e-12);
}

TEST(TransformerTest, OutputRowsAreTheWholeForwardsRows) {
  torch::NoGradGuard no_grad;
  const auto model = TinyTransformer(TinyDescriptor(), kDouble);
  RowBatch batch = Concatenate({BlockCausalRows(Tokens(10, 0), 4), BlockCausalRows(Tokens(4, 5), 4),
                                BlockCausalRows(Tokens(10, 2), 4)});
  const torch::Tensor all = model->Forward(batch);
  for (const std::vector<int64_t>& rows :
       {std::vector<int64_t>{23}, {0, 1, 2, 3}, {7, 2, 20, 2, 9}, {}}) {
    batch.output_rows = rows;
    const torch::Tensor expected = all.index_select(0, torch::tensor(rows, torch::kInt64));
    const torch::Tensor some = model->Forward(batch);
    ASSERT_EQ(some.sizes(), expected.sizes());
    EXPECT_TRUE(torch::allclose(some, expected, 0, 1e-12));
  }
}

TEST(TransformerTest, ALaterCleanBlockChangesNoEarlierRow) {
  torch::NoGradGuard no_grad;
  const auto model = TinyTransformer(TinyDescriptor(), kDouble);
  const std::vector<int64_t> noisy = {4, 5, 6, 7, 8, 3, 3, 9, 3, 3, 3, 3};
  std::vector<int64_t> clean = {4, 5, 6, 7, 8, 10, 5, 9, 6, 4, 9, 7};
  const torch::Tensor before = model->Forward(TwoHalfRows(noisy, clean, 4));
  for (int64_t i = 4; i < 8; ++i) clean[i] = 4 + (clean[i] - 3) % 7;  // block 1
  const torch::Tensor moved =
      (model->Forward(TwoHalfRows(noisy, clean, 4)) - before).abs().amax(1).gt(1e-9);
  const auto changed = [&](int64_t block) { return moved.narrow(0, 4 * block, 4); };
  EXPECT_FALSE(changed(0).any().item<bool>());  // noisy 0
  EXPECT_FALSE(changed(1).any().item<bool>());  // noisy 1 sees its own noisy block only
  EXPECT_TRUE(changed(2).all().item<bool>());   // noisy 2 sees clean 1
  EXPECT_FALSE(changed(3).any().item<bool>());  // clean 0
  EXPECT_TRUE(changed(4).all().item<bool>());   // clean 1
  EXPECT_TRUE(changed(5).all().item<bool>());   // clean 2
}

class GradientTest : public testing::TestWithParam<bool> {};

TEST_P(GradientTest, EqualsFiniteDifferences) {
  checkpoint::ModelDescriptor descriptor = TinyDescriptor();
  descriptor.tie_word_embeddings = GetParam();
  descriptor.qk_norm = !GetParam();
  const auto model = TinyTransformer(descriptor, {torch::kFloat64, true});
  const RowBatch batch =
      Concatenate({TwoHalfRows({4, 5, 6, 7, 8, 3, 3, 9}, {4, 5, 6, 7, 8, 10, 5, 9}, 4),
                   BlockCausalRows(Tokens(6, 1), 4)});
  torch::manual_seed(7);
  const torch::Tensor direction = torch::randn({22, 11}, torch::kFloat64);
  const auto loss = [&] { return (model->Head(model->Forward(batch)).tanh() * direction).sum(); };
  ExpectGradientsOfDifferences(model->NamedParameters(), loss);
}

INSTANTIATE_TEST_SUITE_P(TiedAndUntied, GradientTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "tied" : "untied"; });

TEST(TransformerTest, FrozenParametersBuildNoGraph) {
  const auto model = TinyTransformer(TinyDescriptor(), {});
  EXPECT_FALSE(model->Forward(BlockCausalRows(Tokens(8, 0), 4)).requires_grad());
}

TEST(TransformerTest, RunsInBfloat16CloseToFloat32) {
  torch::NoGradGuard no_grad;
  const auto exact = TinyTransformer(TinyDescriptor(), {});
  const auto rounded = Transformer::FromTensors(TinyDescriptor(), exact->NamedParameters(),
                                                {torch::kBFloat16, false});
  ASSERT_TRUE(rounded.ok()) << rounded.status();
  const RowBatch batch = BlockCausalRows(Tokens(10, 0), 4);
  const torch::Tensor hidden = (*rounded)->Forward(batch);
  EXPECT_EQ(hidden.scalar_type(), torch::kBFloat16);
  EXPECT_LT(MaxDifference(hidden.to(torch::kFloat32), exact->Forward(batch)), 0.2);
}

struct BadBatch {
  const char* name;
  void (*spoil)(RowBatch&);
  const char* message;
};

class BadBatchTest : public testing::TestWithParam<BadBatch> {};

TEST_P(BadBatchTest, IsRefusedAtTheBoundary) {
  const auto model = TinyTransformer(TinyDescriptor(), {});
  RowBatch batch = BlockCausalRows(Tokens(8, 0), 4);
  GetParam().spoil(batch);
  const auto result = TorchBoundary([&] { return model->Forward(batch); });
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(result.status().message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadBatchTest,
    testing::Values(
        BadBatch{"no_rows", [](RowBatch& b) { b = {}; }, "an empty row batch"},
        BadBatch{"positions", [](RowBatch& b) { b.positions.pop_back(); }, "7 positions"},
        BadBatch{"token", [](RowBatch& b) { b.token_ids[2] = 11; }, "token id 11 outside [0, 11)"},
        BadBatch{"gap", [](RowBatch& b) { b.segments[1].begin = 5; }, "must begin at row 4"},
        BadBatch{"rest", [](RowBatch& b) { b.segments.pop_back(); }, "cover 4 of 8 rows"},
        BadBatch{"no_keys", [](RowBatch& b) { b.segments[0].keys.clear(); }, "has no keys"},
        BadBatch{"keys",
                 [](RowBatch& b) {
                   b.segments[0].keys = {{0, 9}};
                 },
                 "key range [0, 9)"},
        BadBatch{"cache_rows", [](RowBatch& b) { b.cache_rows = {1}; }, "without a cache"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace dtrpo::model

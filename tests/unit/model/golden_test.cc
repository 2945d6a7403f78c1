// Logits against transformers' Qwen2ForCausalLM, Qwen3ForCausalLM and LlamaForCausalLM
// (tests/golden/make_model_fixtures.py): largest difference 1e-4 in float32.
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/base/check.h"
#include "common/base/file_system.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/checkpoint/safetensors.h"
#include "common/model/checkpoint_tensors.h"
#include "common/model/transformer.h"
#include "tests/unit/model/test_model.h"

namespace dtrpo::model {
namespace {

using nlohmann::json;

constexpr float kTolerance = 1e-4f;

class GoldenTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const std::string path = std::string(DTRPO_SOURCE_DIR) + "/tests/golden/model/" + GetParam();
    auto folder = checkpoint::CheckpointFolder::Open(path);
    ASSERT_TRUE(folder.ok()) << folder.status();
    auto model = Transformer::Load(*folder, {});
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    auto text = base::PosixFileSystem()->Read(path + "/cases.json");
    ASSERT_TRUE(text.ok()) << text.status();
    cases_ = json::parse(*text);
    auto expected = checkpoint::SafetensorsFile::Map(path + "/expected.safetensors");
    ASSERT_TRUE(expected.ok()) << expected.status();
    expected_ = *std::move(expected);
  }

  std::vector<json> Cases(const std::string& mask) const {
    std::vector<json> cases;
    for (const json& c : cases_) {
      if (c["mask"] == mask) cases.push_back(c);
    }
    return cases;
  }

  torch::Tensor Expected(const json& c) const {
    const auto* view = expected_->Find(c["name"].get<std::string>() + ".logits");
    DTRPO_CHECK(view != nullptr) << c["name"];
    auto tensor = BorrowTensor(view->data, view->shape, torch::kFloat32, expected_);
    DTRPO_CHECK_OK(tensor);
    return *tensor;
  }

  torch::Tensor Logits(const RowBatch& batch, KvCache* cache = nullptr) const {
    torch::NoGradGuard no_grad;
    return model_->Head(model_->Forward(batch, cache));
  }

  std::unique_ptr<Transformer> model_;
  json cases_;
  std::shared_ptr<const checkpoint::SafetensorsFile> expected_;
};

TEST_P(GoldenTest, EveryFixtureHasCasesOfEveryMask) {
  EXPECT_EQ(Cases("block_causal").size(), 2u);
  EXPECT_EQ(Cases("two_half").size(), 3u);
  EXPECT_EQ(Cases("bidirectional").size(), 2u);
}

TEST_P(GoldenTest, BlockCausalLogitsEqualTheReference) {
  for (const json& c : Cases("block_causal")) {
    const RowBatch batch = BlockCausalRows(c["tokens"], c["block_size"]);
    EXPECT_LT(MaxDifference(Logits(batch), Expected(c)), kTolerance) << c["name"];
  }
}

TEST_P(GoldenTest, CachedBlocksGiveTheReferenceToo) {
  for (const json& c : Cases("block_causal")) {
    const std::vector<int64_t> tokens = c["tokens"];
    const RowBatch whole = BlockCausalRows(tokens, c["block_size"]);
    KvCache cache(model_->descriptor(), tokens.size(), torch::kFloat32);
    std::vector<torch::Tensor> logits;
    for (const Segment& segment : whole.segments) {  // a forward for each block
      RowBatch block;
      for (int64_t row = segment.begin; row < segment.end; ++row) {
        block.token_ids.push_back(tokens[row]);
        block.positions.push_back(row);
        block.cache_rows.push_back(row);
      }
      block.segments = {{0, segment.end - segment.begin, segment.keys}};
      logits.push_back(Logits(block, &cache));
    }
    EXPECT_LT(MaxDifference(torch::cat(logits), Expected(c)), kTolerance) << c["name"];
  }
}

TEST_P(GoldenTest, NoisyAndCleanHalvesEqualTheReference) {
  for (const json& c : Cases("two_half")) {
    const RowBatch batch = TwoHalfRows(c["noisy"], c["clean"], c["block_size"]);
    EXPECT_LT(MaxDifference(Logits(batch), Expected(c)), kTolerance) << c["name"];
  }
}

TEST_P(GoldenTest, TheCompactLayoutGivesTheSameRowsAsTheDenseMask) {
  for (const json& c : Cases("two_half")) {
    std::vector<int64_t> source_rows;
    const RowBatch batch =
        CompactRows(c["noisy"], c["clean"], c["block_size"], c["prompt_tokens"], &source_rows);
    const torch::Tensor expected = Expected(c).index_select(0, torch::tensor(source_rows));
    ASSERT_LT(expected.size(0), Expected(c).size(0));
    EXPECT_LT(MaxDifference(Logits(batch), expected), kTolerance) << c["name"];
  }
}

TEST_P(GoldenTest, BidirectionalLogitsEqualTheReference) {
  for (const json& c : Cases("bidirectional")) {
    EXPECT_LT(MaxDifference(Logits(BidirectionalRows(c["tokens"])), Expected(c)), kTolerance)
        << c["name"];
  }
}

// Control: the comparison does notice a wrong mask.
TEST_P(GoldenTest, NoisyRowsThatSeeTheirOwnCleanBlockDoNotMatch) {
  for (const json& c : Cases("two_half")) {
    RowBatch batch = TwoHalfRows(c["noisy"], c["clean"], c["block_size"]);
    const int64_t length = c["clean"].size(), block = c["block_size"];
    for (Segment& segment : batch.segments) {
      if (segment.begin < length) {
        segment.keys.push_back({length + segment.begin, length + segment.begin + block});
      }
    }
    EXPECT_GT(MaxDifference(Logits(batch), Expected(c)), 100 * kTolerance) << c["name"];
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, GoldenTest,
                         testing::Values("fast_dllm_4_2_tied", "fast_dllm_4_1_untied",
                                         "fast_dllm_4_4_tied", "sdar", "llada", "dream"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace dtrpo::model

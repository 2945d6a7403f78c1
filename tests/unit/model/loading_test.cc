// Loading, checking and saving parameters.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <limits>
#include <string>

#include "common/base/memory_file_system.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/checkpoint/checkpoint_writer.h"
#include "common/model/checkpoint_tensors.h"
#include "common/model/transformer.h"
#include "tests/unit/model/test_model.h"

namespace dtrpo::model {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr char kConfig[] = R"({"architectures": ["Fast_dLLM_QwenForCausalLM"],
  "model_type": "Fast_dLLM_Qwen", "hidden_size": 8, "num_hidden_layers": 2,
  "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4, "intermediate_size": 12,
  "vocab_size": 11, "rope_theta": 100, "rms_norm_eps": 1e-6, "tie_word_embeddings": true,
  "hidden_act": "silu", "bd_size": 4, "mask_token_id": 3, "eos_token_id": 2})";

class LoadingTest : public testing::Test {
 protected:
  // A folder with these tensors in the memory of this test.
  absl::StatusOr<checkpoint::CheckpointFolder> Folder(const NamedTensors& tensors) {
    checkpoint::CheckpointContents contents;
    contents.tensor_files["model.safetensors"] = TensorViews(tensors);
    contents.extra_files["config.json"] = kConfig;
    const absl::Status written =
        checkpoint::WriteCheckpoint(&files_, "/model", contents, {.overwrite = true});
    if (!written.ok()) return written;
    return checkpoint::CheckpointFolder::Open("/model", {}, &files_);
  }

  absl::StatusOr<std::unique_ptr<Transformer>> Load(const NamedTensors& tensors,
                                                    const LoadOptions& options = {}) {
    auto folder = Folder(tensors);
    if (!folder.ok()) return folder.status();
    return Transformer::Load(*folder, options);
  }

  base::MemoryFileSystem files_;
  std::unique_ptr<Transformer> source_ = TinyTransformer(TinyDescriptor(), {});
  NamedTensors tensors_ = source_->NamedParameters();
};

TEST_F(LoadingTest, WhatIsSavedLoadsBitForBit) {
  const auto loaded = Load(tensors_);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_EQ((*loaded)->NamedParameters().size(), tensors_.size());
  for (size_t i = 0; i < tensors_.size(); ++i) {
    EXPECT_EQ((*loaded)->NamedParameters()[i].first, tensors_[i].first);
    EXPECT_TRUE(torch::equal((*loaded)->NamedParameters()[i].second, tensors_[i].second));
  }
}

TEST_F(LoadingTest, TensorsOutliveTheFolderObject) {
  auto folder = std::make_unique<checkpoint::CheckpointFolder>(*Folder(tensors_));
  const auto loaded = Transformer::Load(*folder, {});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  folder.reset();
  EXPECT_TRUE(torch::equal((*loaded)->NamedParameters()[0].second, tensors_[0].second));
}

TEST_F(LoadingTest, TrainedParametersAreLeavesOfTheirOwn) {
  const auto loaded = Load(tensors_, {torch::kFloat32, true});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  for (const torch::Tensor& parameter : (*loaded)->Parameters()) {
    EXPECT_TRUE(parameter.requires_grad());
    EXPECT_TRUE(parameter.is_leaf());
  }
  torch::NoGradGuard no_grad;
  (*loaded)->Parameters()[0].add_(1);  // would crash on mapped memory
  EXPECT_FALSE(torch::equal((*loaded)->Parameters()[0], tensors_[0].second));
}

TEST_F(LoadingTest, OtherDtypesAreConverted) {
  for (auto& [name, tensor] : tensors_) tensor = tensor.to(torch::kBFloat16);
  const auto loaded = Load(tensors_, {torch::kFloat32, false});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->Parameters()[0].scalar_type(), torch::kFloat32);
  EXPECT_TRUE(torch::equal((*loaded)->Parameters()[0], tensors_[0].second.to(torch::kFloat32)));
}

TEST_F(LoadingTest, EveryProblemIsNamedInOneError) {
  NamedTensors spoiled;
  for (const auto& [name, tensor] : tensors_) {
    if (name == "model.layers.1.self_attn.k_proj.bias") continue;
    torch::Tensor copy = tensor.clone();
    if (name == "model.norm.weight") copy[3] = std::numeric_limits<float>::quiet_NaN();
    if (name == "model.layers.0.mlp.up_proj.weight") copy[1][1] = INFINITY;
    if (name == "model.layers.0.mlp.gate_proj.weight") copy = torch::zeros({12, 7});
    spoiled.emplace_back(name, copy);
  }
  spoiled.emplace_back("model.layers.2.mlp.up_proj.weight", torch::zeros({12, 8}));
  const auto status = Load(spoiled).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(
      std::string(status.message()),
      AllOf(HasSubstr("/model/model.safetensors: "),
            HasSubstr("model.layers.1.self_attn.k_proj.bias is missing"),
            HasSubstr("model.norm.weight holds NaN or infinite numbers"),
            HasSubstr("model.layers.0.mlp.up_proj.weight holds NaN or infinite numbers"),
            HasSubstr("model.layers.0.mlp.gate_proj.weight has shape [12, 7], expected [12, 8]"),
            HasSubstr("model.layers.2.mlp.up_proj.weight is not expected")));
}

TEST_F(LoadingTest, AllProblemsAreListedWhenNothingFits) {
  const std::string message(Load({{"x", torch::zeros({1})}}).status().message());
  for (const auto& [name, tensor] : tensors_) {
    EXPECT_THAT(message, HasSubstr(name + " is missing"));
  }
  EXPECT_THAT(message, HasSubstr("x is not expected"));
}

TEST_F(LoadingTest, IntegersAreNoWeights) {
  tensors_[0].second = torch::zeros({11, 8}, torch::kInt64);
  const auto status = Transformer::FromTensors(TinyDescriptor(), tensors_, {}).status();
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("model.embed_tokens.weight holds no floating-point numbers"));
}

TEST_F(LoadingTest, ATiedCheckpointMayRepeatItsEmbeddingButNotContradictIt) {
  tensors_.emplace_back("lm_head.weight", tensors_[0].second.clone());
  EXPECT_TRUE(Load(tensors_).ok());
  tensors_.back().second[0][0] += 1;
  EXPECT_THAT(std::string(Load(tensors_).status().message()),
              HasSubstr("lm_head.weight is not expected"));
}

TEST_F(LoadingTest, FromTensorsSharesMemoryWithWhatItIsGiven) {
  const auto model = Transformer::FromTensors(TinyDescriptor(), tensors_, {});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->Parameters()[5].data_ptr(), tensors_[5].second.data_ptr());
}

TEST_F(LoadingTest, UnalignedBytesAreCopied) {
  const std::vector<float> values = {1, 2, 3};
  std::string bytes("x");
  bytes.append(reinterpret_cast<const char*>(values.data()), 12);
  const auto tensor = BorrowTensor(absl::MakeConstSpan(bytes).subspan(1), {3}, torch::kFloat32, {});
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_TRUE(torch::equal(*tensor, torch::tensor(values)));
  EXPECT_FALSE(BorrowTensor(bytes, {3}, torch::kFloat32, {}).ok());  // 13 bytes
}

TEST(RandomTest, IsAFunctionOfTheSeedAndOfNothingElse) {
  const auto a = Transformer::Random(TinyDescriptor(), 1, {});
  torch::manual_seed(99);
  const auto b = Transformer::Random(TinyDescriptor(), 1, {});
  const auto c = Transformer::Random(TinyDescriptor(), 2, {});
  ASSERT_TRUE(a.ok() && b.ok() && c.ok());
  EXPECT_TRUE(torch::equal((*a)->Parameters()[0], (*b)->Parameters()[0]));
  EXPECT_FALSE(torch::equal((*a)->Parameters()[0], (*c)->Parameters()[0]));
}

TEST(RandomTest, IsNormalWithTheUsualSpread) {
  checkpoint::ModelDescriptor wide = TinyDescriptor();
  wide.vocab_size = 4001;
  const auto model = Transformer::Random(wide, 1, {});
  ASSERT_TRUE(model.ok());
  const torch::Tensor embedding = (*model)->Parameters()[0];  // 32008 numbers
  EXPECT_NEAR(embedding.std().item<double>(), 0.02, 0.0004);
  EXPECT_NEAR(embedding.mean().item<double>(), 0, 0.0004);
  EXPECT_NEAR(embedding.abs().gt(0.04).to(torch::kFloat64).mean().item<double>(), 0.0455, 0.005);
  wide.initializer_range = 0.5;
  EXPECT_NEAR((*Transformer::Random(wide, 1, {}))->Parameters()[0].std().item<double>(), 0.5, 0.01);
  for (const auto& [name, tensor] : (*model)->NamedParameters()) {
    if (tensor.dim() == 2) continue;
    const double expected = name.find("norm") != std::string::npos ? 1 : 0;
    EXPECT_TRUE(tensor.eq(expected).all().item<bool>()) << name;
  }
}

}  // namespace
}  // namespace dtrpo::model

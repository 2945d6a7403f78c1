#include "common/model/lora.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>

#include "absl/strings/match.h"
#include "common/base/check.h"
#include "common/model/adapter_folder.h"
#include "common/model/trained_parts.h"
#include "common/model/transformer.h"
#include "tests/unit/model/gradient_check.h"
#include "tests/unit/model/test_model.h"

namespace dtrpo::model {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

RowBatch Rows() { return TwoHalfRows({4, 5, 6, 7, 8, 3, 3, 9}, {4, 5, 6, 7, 8, 10, 5, 9}, 4); }

torch::Tensor Logits(const Transformer& model) { return model.Head(model.Forward(Rows())); }

// Adapters of `options` with B random too.
NamedTensors RandomAdapters(const checkpoint::ModelDescriptor& descriptor,
                            const LoraOptions& options, torch::Dtype dtype) {
  auto adapters = InitialAdapters(descriptor, options, 1);
  DTRPO_CHECK_OK(adapters);
  torch::manual_seed(5);
  for (auto& [name, tensor] : *adapters) tensor = torch::randn(tensor.sizes(), dtype);
  return *std::move(adapters);
}

std::unique_ptr<Transformer> With(const Transformer& base, const NamedTensors& tensors,
                                  const VariantOptions& options) {
  auto model = Transformer::Variant(base, tensors, options);
  DTRPO_CHECK_OK(model);
  return *std::move(model);
}

TEST(LoraTest, BeginsAsTheBaseToTheLastBit) {
  torch::NoGradGuard no_grad;
  for (const torch::Dtype dtype : {torch::kFloat32, torch::kBFloat16}) {
    const auto exact = TinyTransformer(TinyDescriptor(), {});
    const auto base =
        Transformer::FromTensors(TinyDescriptor(), exact->NamedParameters(), {.dtype = dtype});
    auto adapters = InitialAdapters(TinyDescriptor(), {.rank = 3}, 1);
    ASSERT_TRUE(adapters.ok()) << adapters.status();
    for (auto& [name, tensor] : *adapters) tensor = tensor.to(dtype);
    const auto model = With(**base, *adapters, {.adapter_scale = 2});
    EXPECT_TRUE(torch::equal(Logits(*model), Logits(**base)));
  }
}

TEST(LoraTest, BeginsAsPeftDoesAndIsAFunctionOfSeedAndName) {
  const checkpoint::ModelDescriptor descriptor = TinyDescriptor();
  const auto adapters = InitialAdapters(descriptor, {.rank = 300}, 7);
  ASSERT_TRUE(adapters.ok());
  ASSERT_EQ(adapters->size(), 2u * 7 * descriptor.num_layers);
  for (const auto& [name, tensor] : *adapters) {
    EXPECT_EQ(tensor.scalar_type(), torch::kFloat32);
    if (absl::EndsWith(name, kLoraB)) {
      EXPECT_EQ(tensor.abs().max().item<float>(), 0) << name;
      continue;
    }
    // Uniform within 1 / sqrt(in): 2400 draws and more fill it.
    const double bound = 1 / std::sqrt(static_cast<double>(tensor.size(1)));
    EXPECT_EQ(tensor.size(0), 300) << name;
    EXPECT_LE(tensor.abs().max().item<double>(), bound) << name;
    EXPECT_GT(tensor.max().item<double>(), 0.99 * bound) << name;
    EXPECT_LT(tensor.min().item<double>(), -0.99 * bound) << name;
    EXPECT_NEAR(tensor.to(torch::kFloat64).mean().item<double>(), 0, 0.05 * bound) << name;
  }
  const auto again = InitialAdapters(descriptor, {.rank = 300, .targets = {"up_proj"}}, 7);
  const auto other = InitialAdapters(descriptor, {.rank = 300, .targets = {"up_proj"}}, 8);
  ASSERT_EQ(again->size(), 4u);
  EXPECT_EQ((*again)[0].first, "model.layers.0.mlp.up_proj.lora_A.weight");
  EXPECT_EQ((*again)[1].first, "model.layers.0.mlp.up_proj.lora_B.weight");
  for (const auto& [name, tensor] : *adapters) {
    if (name == (*again)[0].first) {
      EXPECT_TRUE(torch::equal(tensor, (*again)[0].second));
    }
  }
  EXPECT_FALSE(torch::equal((*again)[0].second, (*other)[0].second));
}

TEST(LoraTest, MergedIsTheSameModel) {
  torch::NoGradGuard no_grad;
  for (const bool qwen3 : {false, true}) {
    checkpoint::ModelDescriptor descriptor = TinyDescriptor();
    descriptor.tie_word_embeddings = !qwen3;
    descriptor.qk_norm = qwen3;
    const auto base = TinyTransformer(descriptor, {.dtype = torch::kFloat64});
    const auto adapters = RandomAdapters(descriptor, {.rank = 2}, torch::kFloat64);
    const auto model = With(*base, adapters, {.adapter_scale = 0.3});
    // Summed up in the weights' own precision where that is more than float32.
    const auto merged =
        Transformer::FromTensors(descriptor, model->MergedParameters(), {.dtype = torch::kFloat64});
    ASSERT_TRUE(merged.ok()) << merged.status();
    EXPECT_LT((Logits(**merged) - Logits(*model)).abs().max().item<double>(), 1e-10);
    EXPECT_GT((Logits(*base) - Logits(*model)).abs().max().item<double>(), 0.1);
  }
}

TEST(LoraTest, GradientsEqualFiniteDifferencesAndTheBaseHasNone) {
  const checkpoint::ModelDescriptor descriptor = TinyDescriptor();
  const auto base = TinyTransformer(descriptor, {.dtype = torch::kFloat64});
  const auto model = With(*base, RandomAdapters(descriptor, {.rank = 2}, torch::kFloat64),
                          {.adapter_scale = 0.7, .requires_grad = true});
  torch::manual_seed(7);
  const torch::Tensor direction = torch::randn({16, 11}, torch::kFloat64);
  const auto loss = [&] { return (Logits(*model).tanh() * direction).sum(); };
  ASSERT_EQ(model->NamedAdapters().size(), 2u * 7 * 2);
  ExpectGradientsOfDifferences(model->NamedAdapters(), loss, /*relative=*/true);
  for (const auto& [name, parameter] : model->NamedParameters()) {
    EXPECT_FALSE(parameter.requires_grad()) << name;
    EXPECT_FALSE(parameter.grad().defined()) << name;
  }
}

TEST(LoraTest, NothingOfTheBaseIsCopied) {
  const auto base = TinyTransformer(TinyDescriptor(), {});
  const auto adapters = RandomAdapters(TinyDescriptor(), {.rank = 2}, torch::kFloat32);
  const auto model = With(*base, adapters, {.adapter_scale = 1});
  for (size_t i = 0; i < base->NamedParameters().size(); ++i) {
    EXPECT_EQ(model->NamedParameters()[i].second.const_data_ptr(),
              base->NamedParameters()[i].second.const_data_ptr());
  }
  EXPECT_EQ(model->NamedAdapters()[0].second.const_data_ptr(), adapters[0].second.const_data_ptr());
}

TEST(LoraTest, CachedBlocksHaveTheAdaptersToo) {
  torch::NoGradGuard no_grad;
  const auto base = TinyTransformer(TinyDescriptor(), {});
  const auto model = With(*base, RandomAdapters(TinyDescriptor(), {.rank = 2}, torch::kFloat32),
                          {.adapter_scale = 0.5});
  const RowBatch whole = BlockCausalRows({4, 5, 6, 7, 8, 9, 3, 3}, 4);
  KvCache cache(model->descriptor(), 8, torch::kFloat32);
  std::vector<torch::Tensor> logits;
  for (const Segment& segment : whole.segments) {
    RowBatch block;
    for (int64_t row = segment.begin; row < segment.end; ++row) {
      block.token_ids.push_back(whole.token_ids[row]);
      block.positions.push_back(row);
      block.cache_rows.push_back(row);
    }
    block.segments = {{0, 4, segment.keys}};
    logits.push_back(model->Head(model->Forward(block, &cache)));
  }
  EXPECT_LT(MaxDifference(torch::cat(logits), model->Head(model->Forward(whole))), 1e-5f);
}

TEST(LoraTest, WrongTensorsAreAllNamed) {
  const auto base = TinyTransformer(TinyDescriptor(), {});
  const std::string q = "model.layers.0.self_attn.q_proj", k = "model.layers.1.self_attn.k_proj";
  const auto status =
      Transformer::Variant(*base,
                           {{q + ".lora_A.weight", torch::zeros({2, 8})},
                            {k + ".lora_A.weight", torch::zeros({2, 7})},
                            {"model.norm.weight", torch::full({8}, NAN)},
                            {"lm_head.lora_A.weight", torch::zeros({2, 8})},
                            {"model.embed_tokens.weight", torch::zeros({11, 8}, torch::kBFloat16)}},
                           {})
          .status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(q + ": .lora_A.weight and .lora_B.weight don't belong together"),
                    HasSubstr(k + ".lora_A.weight has shape [2, 7], expected [-1, 8]"),
                    HasSubstr("model.norm.weight holds NaN"),
                    HasSubstr("lm_head.lora_A.weight is not expected"),
                    HasSubstr("model.embed_tokens.weight is BFloat16, the model Float")));
}

TEST(LoraTest, LladasProjectionsHaveNamesOfTheirOwn) {
  checkpoint::ModelDescriptor descriptor = TinyDescriptor();
  descriptor.architecture = checkpoint::Architecture::kLlada;
  descriptor.num_layers = 1;
  descriptor.qkv_bias = false;
  descriptor.tie_word_embeddings = false;
  const std::string block = "model.transformer.blocks.0.";
  EXPECT_THAT(AdaptableModules(descriptor),
              ElementsAre(block + "q_proj", block + "k_proj", block + "v_proj", block + "attn_out",
                          block + "ff_proj", block + "up_proj", block + "ff_out"));
  // PEFT would give "ff_out" to the head too, so the layer's is named in full.
  const auto random = Transformer::Random(descriptor, 1, {});
  ASSERT_TRUE(random.ok()) << random.status();
  const std::unique_ptr<Transformer>& base = *random;
  const auto model =
      With(*base, RandomAdapters(descriptor, {.rank = 2, .targets = {"ff_out"}}, torch::kFloat32),
           {.adapter_scale = 2});
  EXPECT_THAT(AdapterConfigOf(*model, "base").targets, ElementsAre(block + "ff_out"));
  const auto attention =
      With(*base, RandomAdapters(descriptor, {.rank = 2, .targets = {"q_proj"}}, torch::kFloat32),
           {.adapter_scale = 2});
  EXPECT_THAT(AdapterConfigOf(*attention, "base").targets, ElementsAre("q_proj"));
  EXPECT_EQ(AdapterConfigOf(*attention, "base").alpha, 4);
  const LoraOptions thirds = {.rank = 3, .alpha = 5};
  const auto odd = With(*base, RandomAdapters(descriptor, thirds, torch::kFloat32),
                        {.adapter_scale = thirds.scale()});
  EXPECT_EQ(AdapterConfigOf(*odd, "base").alpha, 5);
}

TEST(TrainedPartsTest, PatternsPickTensorsByTheirNames) {
  const auto model = TinyTransformer(TinyDescriptor(), {});
  const auto names = [&](std::vector<std::string> patterns) {
    std::vector<std::string> found;
    auto tensors = TrainedTensors(*model, {.patterns = std::move(patterns)});
    DTRPO_CHECK_OK(tensors);
    for (const auto& [name, tensor] : *tensors) found.push_back(name);
    return found;
  };
  EXPECT_THAT(
      names({"*.1.mlp.*", "model.layers.?.self_attn.o_proj.weight"}),
      ElementsAre("model.layers.0.self_attn.o_proj.weight",
                  "model.layers.1.self_attn.o_proj.weight", "model.layers.1.mlp.gate_proj.weight",
                  "model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.down_proj.weight"));
  EXPECT_EQ(names({}).size(), model->NamedParameters().size());
}

TEST(TrainedPartsTest, TheFrozenChecksumSeesEveryFrozenTensorAndNoTrainedOne) {
  const auto model = TinyTransformer(TinyDescriptor(), {});
  const auto trained = TrainedTensors(*model, {.patterns = {"*.mlp.*"}});
  ASSERT_TRUE(trained.ok());
  const std::string before = FrozenChecksum(*model, *trained);
  for (const auto& [name, tensor] : model->NamedParameters()) {
    torch::Tensor first = tensor.flatten().narrow(0, 0, 1);
    const torch::Tensor kept = first.clone();
    first.add_(1);
    const bool is_trained = name.find(".mlp.") != std::string::npos;
    EXPECT_EQ(FrozenChecksum(*model, *trained) == before, is_trained) << name;
    first.copy_(kept);
  }
}

}  // namespace
}  // namespace dtrpo::model

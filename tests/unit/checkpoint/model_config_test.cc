#include "common/checkpoint/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/checkpoint/fixtures.h"

namespace dtrpo::checkpoint {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

absl::StatusOr<ModelDescriptor> Describe(const json& config, const TokenFiles& files = {},
                                         const DescriptorOverrides& overrides = {}) {
  const auto parsed = ParseModelConfig(config.dump(), "m/config.json");
  if (!parsed.ok()) return parsed.status();
  return DescribeModel(*parsed, files, overrides);
}

std::string ErrorOf(const json& config, const TokenFiles& files = {.mask_token_id = 95}) {
  const auto described = Describe(config, files);
  EXPECT_FALSE(described.ok());
  EXPECT_THAT(described.status().message(), HasSubstr("m/config.json"));
  return std::string(described.status().message());
}

json With(const char* field, const json& value) {
  json config = FastDllmConfig();
  config[field] = value;
  return config;
}

TEST(ModelConfigTest, DescribesFastDllmV2) {
  const auto d = Describe(FastDllmConfig(), {.mask_token_id = 95, .generation_eos_ids = {91, 90}});
  ASSERT_TRUE(d.ok()) << d.status();
  EXPECT_EQ(d->family, "fast_dllm_v2");
  EXPECT_EQ(d->architecture, Architecture::kQwen2);
  EXPECT_EQ(d->attention, Attention::kBlockCausal);
  EXPECT_EQ(d->block_origin, BlockOrigin::kAbsolute);
  EXPECT_EQ(d->block_size, 32);
  EXPECT_EQ(d->sub_block, 8);
  EXPECT_EQ(d->logit_shift, 1);
  EXPECT_EQ(d->mask_id, 95);
  EXPECT_THAT(d->stop_ids, ElementsAre(91, 90));
  EXPECT_EQ(d->pad_id, 90);
  EXPECT_EQ(d->head_dim, 16);
  EXPECT_EQ(d->num_key_value_heads, 2);
  EXPECT_TRUE(d->qkv_bias);
  EXPECT_FALSE(d->qk_norm);
  EXPECT_TRUE(d->tie_word_embeddings);
  EXPECT_EQ(d->rope_theta, 1e6);
}

TEST(ModelConfigTest, DescribesStockQwen2WithABlockSize) {
  json config = FastDllmConfig();
  config["architectures"] = {"Qwen2ForCausalLM"};
  config["model_type"] = "qwen2";
  config["bd_size"] = 4;
  const TokenFiles files = {.mask_token_id = 95};
  const auto d = Describe(config, files);
  ASSERT_TRUE(d.ok()) << d.status();
  EXPECT_EQ(d->family, "fast_dllm_v2");
  EXPECT_EQ(d->block_size, 4);
  EXPECT_EQ(d->sub_block, 0);  // 8 doesn't divide 4: the whole block

  config.erase("bd_size");
  EXPECT_THAT(ErrorOf(config), AllOf(HasSubstr("Qwen2ForCausalLM"), HasSubstr("bd_size")));
  EXPECT_EQ(Describe(config, files, {.block_size = 16})->block_size, 16);
}

TEST(ModelConfigTest, DescribesSdar) {
  json config = FastDllmConfig();
  config.erase("bd_size");
  config.erase("pad_token_id");
  config.update({{"architectures", {"SDARForCausalLM"}},
                 {"model_type", "sdar"},
                 {"block_size", 4},
                 {"head_dim", 32},
                 {"mask_token_id", 94},
                 {"attention_bias", false},
                 {"eos_token_id", 90},
                 {"tie_word_embeddings", false}});
  const auto d = Describe(config, {.mask_token_id = 1, .generation_eos_ids = {91, 90}});
  ASSERT_TRUE(d.ok()) << d.status();
  EXPECT_EQ(d->family, "sdar");
  EXPECT_EQ(d->architecture, Architecture::kQwen3);
  EXPECT_EQ(d->block_size, 4);
  EXPECT_EQ(d->logit_shift, 0);
  EXPECT_EQ(d->mask_id, 94);  // the config wins over added tokens
  EXPECT_EQ(d->head_dim, 32);
  EXPECT_TRUE(d->qk_norm);
  EXPECT_FALSE(d->qkv_bias);
  EXPECT_EQ(d->pad_id, 91);  // none said: the first stop id
}

TEST(ModelConfigTest, DescribesLladaByItsOwnFieldNames) {
  const json config = {{"architectures", {"LLaDAModelLM"}},
                       {"model_type", "llada"},
                       {"d_model", 64},
                       {"n_layers", 2},
                       {"n_heads", 4},
                       {"n_kv_heads", 4},
                       {"mlp_hidden_size", 96},
                       {"vocab_size", 100},
                       {"embedding_size", 128},
                       {"rope_theta", 500000.0},
                       {"rms_norm_eps", 1e-5},
                       {"weight_tying", false},
                       {"include_qkv_bias", false},
                       {"activation_type", "silu"},
                       {"max_sequence_length", 4096},
                       {"mask_token_id", 120},
                       {"eos_token_id", 81},
                       {"pad_token_id", 81}};
  const auto d = Describe(config);
  ASSERT_TRUE(d.ok()) << d.status();
  EXPECT_EQ(d->family, "llada");
  EXPECT_EQ(d->architecture, Architecture::kLlada);
  EXPECT_EQ(d->attention, Attention::kBidirectional);
  EXPECT_EQ(d->block_origin, BlockOrigin::kResponse);
  EXPECT_EQ(d->block_size, 0);
  EXPECT_EQ(d->hidden_size, 64);
  EXPECT_EQ(d->vocab_size, 128);
  EXPECT_EQ(d->logit_shift, 0);
  EXPECT_FALSE(d->qkv_bias);
}

TEST(ModelConfigTest, DescribesDream) {
  json config = FastDllmConfig();
  config.erase("bd_size");
  config.update(
      {{"architectures", {"DreamModel"}}, {"model_type", "Dream"}, {"mask_token_id", 96}});
  const auto d = Describe(config);
  ASSERT_TRUE(d.ok()) << d.status();
  EXPECT_EQ(d->family, "dream");
  EXPECT_EQ(d->attention, Attention::kBidirectional);
  EXPECT_EQ(d->logit_shift, 1);
  EXPECT_TRUE(d->qkv_bias);
}

TEST(ModelConfigTest, RefusesUnknownFamiliesAndListsTheKnownOnes) {
  json config = FastDllmConfig();
  config["architectures"] = {"GPT2LMHeadModel"};
  config["model_type"] = "gpt2";
  const auto described = Describe(config, {.mask_token_id = 95});
  EXPECT_EQ(described.status().code(), absl::StatusCode::kUnimplemented);
  for (const char* part :
       {"m/config.json", "GPT2LMHeadModel", "fast_dllm_v2", "sdar", "llada", "dream"}) {
    EXPECT_THAT(described.status().message(), HasSubstr(part));
  }
}

TEST(ModelConfigTest, ReadsRopeThetaWhereTransformers5WritesIt) {
  json config = FastDllmConfig();
  config.erase("rope_theta");
  config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 5000.0}};
  EXPECT_EQ(Describe(config, {.mask_token_id = 95})->rope_theta, 5000);
  config["rope_parameters"]["rope_type"] = "yarn";
  EXPECT_THAT(ErrorOf(config), AllOf(HasSubstr("rope_parameters.rope_type"), HasSubstr("yarn")));
  config.erase("rope_parameters");
  EXPECT_THAT(ErrorOf(config), AllOf(HasSubstr("'rope_theta'"), HasSubstr("missing")));
}

TEST(ModelConfigTest, ReadsTheSpreadOfRandomWeightsOrTakesTheUsualOne) {
  const TokenFiles files = {.mask_token_id = 95};
  EXPECT_EQ(Describe(FastDllmConfig(), files)->initializer_range, 0.02);
  EXPECT_EQ(Describe(With("initializer_range", 0.06), files)->initializer_range, 0.06);
}

TEST(ModelConfigTest, NamesEveryMissingField) {
  for (const char* field : {"hidden_size", "num_hidden_layers", "num_attention_heads",
                            "num_key_value_heads", "intermediate_size", "vocab_size",
                            "rms_norm_eps", "rope_theta", "bd_size", "eos_token_id"}) {
    for (const bool null : {false, true}) {
      json config = FastDllmConfig();
      if (null) config[field] = nullptr;
      if (!null) config.erase(field);
      EXPECT_THAT(ErrorOf(config),
                  AllOf(HasSubstr("'" + std::string(field) + "'"), HasSubstr("missing")));
    }
  }
}

TEST(ModelConfigTest, NamesEveryFieldOfTheWrongKind) {
  const std::pair<const char*, json> faults[] = {{"hidden_size", "64"},
                                                 {"hidden_size", 64.5},
                                                 {"hidden_size", 0},
                                                 {"vocab_size", -1},
                                                 {"vocab_size", 1ull << 63},
                                                 {"num_key_value_heads", 3},
                                                 {"num_attention_heads", 7},
                                                 {"head_dim", 15},
                                                 {"rms_norm_eps", "x"},
                                                 {"rms_norm_eps", -1},
                                                 {"tie_word_embeddings", 1},
                                                 {"architectures", "x"},
                                                 {"model_type", 3},
                                                 {"eos_token_id", "x"},
                                                 {"eos_token_id", {1, "x"}},
                                                 {"mask_token_id", -3},
                                                 {"bd_size", 0},
                                                 {"torch_dtype", 32},
                                                 {"rope_theta", 0},
                                                 {"rope_scaling", "x"},
                                                 {"use_sliding_window", true},
                                                 {"hidden_act", "gelu"},
                                                 {"layer_types", {"sliding_attention"}}};
  for (const auto& [field, value] : faults) {
    EXPECT_THAT(ErrorOf(With(field, value)), HasSubstr(field)) << value;
  }
}

TEST(ModelConfigTest, NamesLineAndColumnOfBrokenJson) {
  const auto parsed = ParseModelConfig("{\"hidden_size\": 64,\n \"x\": }", "m/config.json");
  EXPECT_THAT(parsed.status().message(), AllOf(HasSubstr("m/config.json"), HasSubstr("line 2")));
  EXPECT_THAT(ParseModelConfig("{\"a\": 1, \"a\": 2}", "m/config.json").status().message(),
              AllOf(HasSubstr("'a'"), HasSubstr("twice")));
}

TEST(ModelConfigTest, TakesTheMaskFromOptionThenConfigThenAddedTokens) {
  EXPECT_THAT(ErrorOf(FastDllmConfig(), {}),
              AllOf(HasSubstr("'mask_token_id'"), HasSubstr("|<MASK>|")));
  json config = With("mask_token_id", 93);
  EXPECT_EQ(Describe(config, {.mask_token_id = 95})->mask_id, 93);
  EXPECT_EQ(Describe(config, {.mask_token_id = 95}, {.mask_token_id = 92})->mask_id, 92);
}

TEST(ModelConfigTest, RefusesIdsOutsideTheVocabularyAndAMaskThatStops) {
  EXPECT_THAT(ErrorOf(FastDllmConfig(), {.mask_token_id = 100}), HasSubstr("mask_id"));
  EXPECT_THAT(ErrorOf(FastDllmConfig(), {.mask_token_id = 91}), HasSubstr("stop_ids"));
  EXPECT_THAT(ErrorOf(With("eos_token_id", 100)), HasSubstr("stop_ids"));
  EXPECT_THAT(ErrorOf(With("pad_token_id", 100)), HasSubstr("pad_id"));
}

TEST(ModelConfigTest, TheEndOfATurnStopsBeforeWhatTheConfigsName) {
  const TokenFiles files = {.mask_token_id = 95, .generation_eos_ids = {90}, .end_of_turn_id = 92};
  EXPECT_THAT(Describe(FastDllmConfig(), files)->stop_ids, ElementsAre(92, 90, 91));
  EXPECT_THAT(Describe(FastDllmConfig(), files, {.stop_ids = {89}})->stop_ids, ElementsAre(89));
}

TEST(ModelConfigTest, NamesTheOptionsThatGiveWhatTheFilesLack) {
  json config = FastDllmConfig();
  EXPECT_THAT(ErrorOf(config, {}),
              AllOf(HasSubstr("--mask-token-id"), HasSubstr("model.mask_token_id")));
  config.erase("eos_token_id");
  EXPECT_THAT(ErrorOf(config), AllOf(HasSubstr("--stop-ids"), HasSubstr("model.stop_ids")));
  config.erase("bd_size");
  EXPECT_THAT(ErrorOf(config), AllOf(HasSubstr("--block-size"), HasSubstr("model.block_size")));
}

TEST(ModelConfigTest, ZeroAndNothingAreNoOverrides) {
  const DescriptorOverrides none = GivenOverrides(0, 0, {});
  EXPECT_FALSE(none.mask_token_id.has_value() || none.block_size.has_value());
  EXPECT_TRUE(none.stop_ids.empty());
  const DescriptorOverrides all = GivenOverrides(7, 4, {2, 3});
  EXPECT_EQ(all.mask_token_id, 7);
  EXPECT_EQ(all.block_size, 4);
  EXPECT_THAT(all.stop_ids, ElementsAre(2, 3));
}

TEST(ModelConfigTest, ReadsStopIdsAsNumberOrList) {
  TokenFiles files;
  ASSERT_TRUE(
      ReadGenerationConfig(R"({"eos_token_id": [5, 6], "pad_token_id": 7})", "g", &files).ok());
  EXPECT_THAT(files.generation_eos_ids, ElementsAre(5, 6));
  EXPECT_EQ(files.generation_pad_id, 7);
  ASSERT_TRUE(ReadGenerationConfig(R"({"eos_token_id": 5})", "g", &files).ok());
  EXPECT_THAT(files.generation_eos_ids, ElementsAre(5));
  EXPECT_THAT(ReadGenerationConfig("[]", "g", &files).message(), HasSubstr("g: "));
}

TEST(ModelConfigTest, SetsTheDtypeAndKeepsTheRest) {
  const std::string changed =
      WithDtype(R"({"z": 1, "torch_dtype": "bfloat16", "a": 2})", "c", "float32").value();
  EXPECT_EQ(nlohmann::ordered_json::parse(changed).dump(),
            R"({"z":1,"torch_dtype":"float32","a":2})");
  EXPECT_EQ(json::parse(WithDtype(R"({"dtype": "bfloat16"})", "c", "float32").value()).dump(),
            R"({"dtype":"float32"})");
  EXPECT_FALSE(WithDtype("{", "c", "float32").ok());
}

}  // namespace
}  // namespace dtrpo::checkpoint

#include "common/checkpoint/adapter_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file_system.h"

namespace dtrpo::checkpoint {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<AdapterConfig> Parse(const std::string& fields) {
  return ParseAdapterConfig(
      absl::StrCat(R"({"peft_type": "LORA", "r": 4, "lora_alpha": 6)", fields, "}"), "a.json");
}

TEST(AdapterConfigTest, ReadsWhatPeftWrote) {
  const std::string path = DTRPO_SOURCE_DIR "/tests/golden/lora/sdar/adapter/adapter_config.json";
  const auto text = base::PosixFileSystem()->Read(path);
  ASSERT_TRUE(text.ok()) << text.status();
  const auto config = ParseAdapterConfig(*text, path);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->rank, 3);
  EXPECT_EQ(config->alpha, 6);
  EXPECT_EQ(config->base, "sdar");
  EXPECT_DOUBLE_EQ(config->scale, 6 / std::sqrt(3.0));  // use_rslora
}

TEST(AdapterConfigTest, ReadsItsOwnFiles) {
  for (const double alpha : {8.0, 2.5}) {
    const AdapterConfig written = {
        .base = "some/base", .rank = 4, .alpha = alpha, .targets = {"q_proj", "v_proj"}};
    const std::string json = AdapterConfigJson(written);
    const auto read = ParseAdapterConfig(json, "a.json");
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->base, written.base);
    EXPECT_EQ(read->rank, 4);
    EXPECT_EQ(read->alpha, alpha);
    EXPECT_EQ(read->scale, alpha / 4);
    EXPECT_EQ(json.find(alpha == 8 ? "\"lora_alpha\": 8," : "\"lora_alpha\": 2.5,") != json.npos,
              true)
        << json;
  }
}

TEST(AdapterConfigTest, WhatComputesSomethingElseIsRefusedByField) {
  EXPECT_TRUE(Parse("").ok());
  EXPECT_TRUE(Parse(R"(, "use_dora": false, "rank_pattern": {}, "modules_to_save": null)").ok());
  EXPECT_TRUE(Parse(R"(, "init_lora_weights": "gaussian")").ok());
  for (const std::string field :
       {R"("use_dora": true)", R"("rank_pattern": {"q_proj": 8})", R"("alpha_pattern": {"a": 1})",
        R"("modules_to_save": ["lm_head"])", R"("fan_in_fan_out": true)", R"("bias": "all")",
        R"("init_lora_weights": "pissa")", R"("lora_alpha": "6")"}) {
    const std::string replaced =
        field.find("lora_alpha") != field.npos
            ? R"({"peft_type": "LORA", "r": 4, )" + field + "}"
            : R"({"peft_type": "LORA", "r": 4, "lora_alpha": 6, )" + field + "}";
    const absl::Status status = ParseAdapterConfig(replaced, "a.json").status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << field;
    const std::string name = field.substr(1, field.find('"', 1) - 1);
    EXPECT_THAT(std::string(status.message()), HasSubstr("a.json: field '" + name + "'"));
  }
  for (const std::string json : {R"({"peft_type": "IA3", "r": 4, "lora_alpha": 6})", R"({"r": 4})",
                                 R"({"peft_type": "LORA", "r": 0, "lora_alpha": 6})",
                                 R"({"peft_type": "LORA", "r": 4})", "[]", ""}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseAdapterConfig(json, "a.json").status())) << json;
  }
}

}  // namespace
}  // namespace dtrpo::checkpoint

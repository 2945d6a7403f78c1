#include "common/checkpoint/token_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/memory_file_system.h"
#include "tests/unit/checkpoint/fixtures.h"

namespace dtrpo::checkpoint {
namespace {

using testing::HasSubstr;

const std::vector<std::string> kMasks = KnownMaskTokens();

TEST(TokenFilesTest, FindsTheMaskAmongAddedTokens) {
  EXPECT_EQ(IdInAddedTokens(R"({"<x>": 1, "<|MASK|>": 7})", "f", kMasks).value(), 7);
  EXPECT_EQ(IdInAddedTokens(R"({"<x>": 1})", "f", kMasks).value(), std::nullopt);
  EXPECT_THAT(IdInAddedTokens(R"({"<|mask|>": "7"})", "f", kMasks).status().message(),
              HasSubstr("f: field '<|mask|>'"));
  EXPECT_EQ(
      IdInTokenizerJson(
          R"({"added_tokens": [{"id": 3, "content": "<x>"}, {"id": 4, "content": "<|mdm_mask|>"}]})",
          "f", kMasks)
          .value(),
      4);
  EXPECT_EQ(IdInTokenizerJson(R"({"model": {}})", "f", kMasks).value(), std::nullopt);
  EXPECT_THAT(IdInTokenizerJson(R"({"added_tokens": [{"content": "<|MASK|>"}]})", "f", kMasks)
                  .status()
                  .message(),
              HasSubstr("added_tokens.id"));
}

TEST(TokenFilesTest, FindsTokensInTheTokenizersConfig) {
  const char* config = R"({"added_tokens_decoder": {"5": {"content": "<x>"},
                                                    "6": {"content": "<|MASK|>"}}})";
  EXPECT_EQ(IdInTokenizerConfig(config, "f", kMasks).value(), 6);
  EXPECT_EQ(IdInTokenizerConfig(config, "f", {"<y>"}).value(), std::nullopt);
  EXPECT_EQ(IdInTokenizerConfig("{}", "f", kMasks).value(), std::nullopt);
  for (const char* key : {"six", "-6", "99999999999"}) {
    EXPECT_THAT(IdInTokenizerConfig(absl::StrCat(R"({"added_tokens_decoder": {")", key,
                                                 R"(": {"content": "<|MASK|>"}}})"),
                                    "f", kMasks)
                    .status()
                    .message(),
                HasSubstr(absl::StrCat("added_tokens_decoder.", key)));
  }
}

TEST(TokenFilesTest, ReadsOneChatTemplateOrSeveral) {
  EXPECT_EQ(ChatTemplateOf("{}", "f").value(), "");
  EXPECT_EQ(ChatTemplateOf(R"({"chat_template": "a"})", "f").value(), "a");
  EXPECT_EQ(ChatTemplateOf(R"({"chat_template": [{"name": "x", "template": "a"},
                                                 {"name": "y", "template": "b"}]})",
                           "f")
                .value(),
            "a\nb\n");
  for (const char* broken : {"3", "[3]", R"([{"template": 3}])"}) {
    EXPECT_THAT(
        ChatTemplateOf(absl::StrCat(R"({"chat_template": )", broken, "}"), "f").status().message(),
        HasSubstr("f: field 'chat_template'"));
  }
}

// LLaDA's files: <|endoftext|> 126081 in config.json, <|eot_id|> 126348 at the end of each turn.
TEST(TokenFilesTest, TheEndOfATurnIsWhatTheChatTemplateWrites) {
  base::MemoryFileSystem files;
  const char* decoder = R"("added_tokens_decoder": {"126348": {"content": "<|eot_id|>"},
                             "126336": {"content": "<|mdm_mask|>"}})";
  Put(&files, "m/tokenizer_config.json",
      absl::StrCat("{", decoder, R"(, "chat_template": "{{ content + '<|eot_id|>' }}"})"));
  TokenFiles tokens = ReadTokenFiles(&files, "m").value();
  EXPECT_EQ(tokens.end_of_turn_id, 126348);
  EXPECT_EQ(tokens.mask_token_id, 126336);
  // Known to the tokenizer, but no template writes it.
  Put(&files, "m/tokenizer_config.json", absl::StrCat("{", decoder, "}"));
  EXPECT_EQ(ReadTokenFiles(&files, "m")->end_of_turn_id, std::nullopt);
  // A template in a file of its own.
  Put(&files, "m/chat_template.jinja", "{{ message }}<|im_end|>");
  Put(&files, "m/added_tokens.json", R"({"<|im_end|>": 9})");
  EXPECT_EQ(ReadTokenFiles(&files, "m")->end_of_turn_id, 9);
  // Written by a template, but unknown to the tokenizer.
  Put(&files, "m/added_tokens.json", "{}");
  EXPECT_EQ(ReadTokenFiles(&files, "m")->end_of_turn_id, std::nullopt);
}

}  // namespace
}  // namespace dtrpo::checkpoint

#include "common/text/prompt_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace dtrpo::text {
namespace {

using ::testing::HasSubstr;

const char kQwen[] = DTRPO_SOURCE_DIR "/tests/golden/text/qwen";
const char kNoTokenizer[] = DTRPO_SOURCE_DIR "/tests/golden/model/fast_dllm_4_2_tied";

TEST(PromptEncoderTest, TextIsOneUserMessageOfTheChatTemplate) {
  const auto encoder = PromptEncoder::Load(kQwen, /*wrap_text=*/true);
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  const auto text = encoder->EncodeText("47+8=");
  const auto messages = encoder->EncodeMessages(R"([{"role": "user", "content": "47+8="}])");
  ASSERT_TRUE(text.ok()) << text.status();
  ASSERT_TRUE(messages.ok()) << messages.status();
  EXPECT_EQ(*text, *messages);
}

TEST(PromptEncoderTest, RawTextIsEncodedAsItIs) {
  const auto wrapped = PromptEncoder::Load(kQwen, /*wrap_text=*/true);
  const auto raw = PromptEncoder::Load(kQwen, /*wrap_text=*/false);
  ASSERT_TRUE(wrapped.ok() && raw.ok());
  const auto tokens = raw->EncodeText("47+8=");
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_LT(tokens->size(), wrapped->EncodeText("47+8=")->size());
  EXPECT_EQ(*raw->Decode(*tokens), "47+8=");
}

TEST(PromptEncoderTest, AnEncoderThatWrapsEncodesRawTextAndConversationsToo) {
  const auto wrapped = PromptEncoder::Load(kQwen, /*wrap_text=*/true);
  const auto raw = PromptEncoder::Load(kQwen, /*wrap_text=*/false);
  ASSERT_TRUE(wrapped.ok() && raw.ok());
  EXPECT_EQ(*wrapped->EncodeRaw("47+8="), *raw->EncodeText("47+8="));
  const std::vector<ChatMessage> chat = {{"system", "Add."}, {"user", "47+8="}};
  const auto tokens = wrapped->EncodeChat(chat);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(*tokens, *wrapped->EncodeMessages(
                         R"([{"role": "system", "content": "Add."},
                             {"role": "user", "content": "47+8="}])"));
}

TEST(PromptEncoderTest, AFolderWithoutTokenizerFilesSaysSoOnlyWhenTextIsNeeded) {
  const auto encoder = PromptEncoder::Load(kNoTokenizer, /*wrap_text=*/true);
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  EXPECT_EQ(*encoder->Decode({1, 2}), "");
  for (const absl::Status& status :
       {encoder->EncodeText("a").status(), encoder->EncodeRaw("a").status(),
        encoder->EncodeChat({}).status(), encoder->EncodeMessages("[]").status()}) {
    EXPECT_THAT(std::string(status.message()), HasSubstr("no tokenizer.json"));
  }
}

}  // namespace
}  // namespace dtrpo::text

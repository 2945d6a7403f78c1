#include "common/text/prompt_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace dtrpo::text {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

PromptEncoder NoTokenizer() {
  auto encoder =
      PromptEncoder::Load(DTRPO_SOURCE_DIR "/tests/golden/model/fast_dllm_4_2_tied", true);
  EXPECT_TRUE(encoder.ok()) << encoder.status();
  return *std::move(encoder);
}

absl::StatusOr<std::vector<Prompt>> Parse(const std::string& content) {
  return ParsePrompts(content, "p.jsonl", NoTokenizer(), 40);
}

TEST(PromptFileTest, ReadsTokenIdsAndSkipsEmptyLines) {
  const auto prompts = Parse(
      "{\"id\": \"a\", \"prompt_tokens\": [1, 2], \"answer\": \"3\"}\n"
      "\n"
      "{\"id\": 7, \"prompt_tokens\": [39]}\n");
  ASSERT_TRUE(prompts.ok()) << prompts.status();
  ASSERT_EQ(prompts->size(), 2u);
  EXPECT_EQ((*prompts)[0].id, "a");
  EXPECT_THAT((*prompts)[0].tokens, ElementsAre(1, 2));
  EXPECT_EQ((*prompts)[1].id, "7");
  EXPECT_EQ((*prompts)[1].line, 3);
}

TEST(PromptFileTest, ReadsTextAndMessages) {
  const auto encoder = PromptEncoder::Load(DTRPO_SOURCE_DIR "/tests/golden/text/qwen", true);
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  const auto prompts = ParsePrompts(
      "{\"id\": \"a\", \"prompt\": \"1+2\"}\n"
      "{\"id\": \"b\", \"messages\": [{\"role\": \"user\", \"content\": \"1+2\"}]}",
      "p.jsonl", *encoder, 1000);
  ASSERT_TRUE(prompts.ok()) << prompts.status();
  EXPECT_EQ((*prompts)[0].tokens, (*prompts)[1].tokens);
  const auto small = ParsePrompts("{\"id\": \"a\", \"prompt\": \"1+2\"}", "p.jsonl", *encoder, 10);
  EXPECT_THAT(std::string(small.status().message()), HasSubstr("p.jsonl:1: field 'prompt'"));
}

TEST(PromptFileTest, NamesLineAndFieldOfWhatIsWrong) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{\"id\"", "p.jsonl:2: not a JSON object"},
      {"[1]", "p.jsonl:2: not a JSON object"},
      {"{\"prompt_tokens\": [1]}", "p.jsonl:2: field 'id': missing"},
      {"{\"id\": \"\", \"prompt_tokens\": [1]}", "p.jsonl:2: field 'id'"},
      {"{\"id\": 1.5, \"prompt_tokens\": [1]}", "p.jsonl:2: field 'id'"},
      {"{\"id\": \"x\", \"prompt_tokens\": [1]}", "p.jsonl:2: field 'id': 'x' is also on line 1"},
      {"{\"id\": \"a\"}", "p.jsonl:2: field 'prompt': missing"},
      {"{\"id\": \"a\", \"prompt\": \"b\", \"prompt_tokens\": [1]}", "field 'prompt_tokens'"},
      {"{\"id\": \"a\", \"prompt_tokens\": []}", "field 'prompt_tokens': the prompt is empty"},
      {"{\"id\": \"a\", \"prompt_tokens\": [40]}", "token id 40 is outside the vocabulary of 40"},
      {"{\"id\": \"a\", \"prompt_tokens\": [-1]}", "token id -1"},
      {"{\"id\": \"a\", \"prompt_tokens\": [1.5]}", "1.5 is not a token id"},
      {"{\"id\": \"a\", \"prompt_tokens\": 3}", "must be a list"},
      {"{\"id\": \"a\", \"prompt\": 3}", "field 'prompt': must be a text"},
      {"{\"id\": \"a\", \"messages\": []}", "field 'messages'"},
      {"{\"id\": \"a\", \"prompt\": \"b\"}", "no tokenizer.json"},
  };
  for (const auto& [line, message] : cases) {
    const auto prompts = Parse("{\"id\": \"x\", \"prompt_tokens\": [1]}\n" + line);
    ASSERT_FALSE(prompts.ok()) << line;
    EXPECT_THAT(std::string(prompts.status().message()), HasSubstr(message)) << line;
  }
}

TEST(PromptFileTest, AFileWithoutPromptsIsAnError) {
  EXPECT_THAT(std::string(Parse("\n\n").status().message()), HasSubstr("p.jsonl: no prompts"));
}

}  // namespace
}  // namespace dtrpo::text

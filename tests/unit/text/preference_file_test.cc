#include "common/text/preference_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "nlohmann/json.hpp"

namespace dtrpo::text {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kVocabulary = 1000;

const PromptEncoder& Qwen() {
  static const auto* const encoder = new PromptEncoder(
      PromptEncoder::Load(DTRPO_SOURCE_DIR "/tests/golden/text/qwen", true).value());
  return *encoder;
}

const PromptEncoder& NoTokenizer() {
  static const auto* const encoder = new PromptEncoder(
      PromptEncoder::Load(DTRPO_SOURCE_DIR "/tests/golden/model/fast_dllm_4_2_tied", true).value());
  return *encoder;
}

absl::StatusOr<Preference> Parse(const std::string& line, const PromptEncoder& encoder = Qwen()) {
  return ParsePreferenceLine(line, encoder, kVocabulary);
}

// Of the chat that `messages` begin.
std::vector<int32_t> PromptTokens(const std::string& messages) {
  return Qwen().EncodeMessages(messages).value();
}

std::string Decoded(const std::vector<int32_t>& tokens) { return Qwen().Decode(tokens).value(); }

constexpr char kOneQuestion[] = R"([{"role": "user", "content": "1+2"}])";
constexpr char kThreeMessages[] = R"([{"role": "user", "content": "1+2"},
    {"role": "assistant", "content": "3"}, {"role": "user", "content": "and 2+2"}])";

TEST(PreferenceFileTest, EveryLayoutOfOneQuestionGivesTheSamePair) {
  const std::string user = R"({"role": "user", "content": "1+2"})";
  const std::string good = R"({"role": "assistant", "content": "3"})";
  const std::string bad = R"({"role": "assistant", "content": "12"})";
  const std::string whole =
      R"("chosen": [)" + user + "," + good + R"(], "rejected": [)" + user + "," + bad + "]";
  const std::string answers = R"("chosen": [)" + good + R"(], "rejected": [)" + bad + "]";
  for (const std::string& line : {
           std::string(R"({"prompt": "1+2", "chosen": "3", "rejected": "12"})"),
           R"({"prompt": [)" + user + R"(], "chosen": "3", "rejected": "12"})",
           R"({"prompt": "1+2", )" + answers + "}",
           R"({"prompt": [)" + user + "], " + answers + "}",
           R"({"prompt": "1+2", "score": 7, )" + whole + "}",
           R"({"prompt": [)" + user + "], " + whole + "}",
           "{" + whole + "}",
           std::string(R"({"chosen": "\n\nHuman: 1+2\n\nAssistant: 3",
                           "rejected": "\n\nHuman: 1+2\n\nAssistant: 12"})"),
       }) {
    const auto pair = Parse(line);
    ASSERT_TRUE(pair.ok()) << line << ": " << pair.status();
    EXPECT_EQ(pair->prompt_tokens, PromptTokens(kOneQuestion)) << line;
    EXPECT_EQ(Decoded(pair->chosen_tokens), "3") << line;
    EXPECT_EQ(Decoded(pair->rejected_tokens), "12") << line;
  }
}

TEST(PreferenceFileTest, ConversationsOfSeveralTurnsShareAllButTheirLastMessage) {
  const auto texts = Parse(
      R"({"chosen": "Human: 1+2\n\nAssistant: 3\n\nHuman: and 2+2\n\nAssistant: 4\nfour",
          "rejected": "Human: 1+2\n\nAssistant: 3\n\nHuman: and 2+2\n\nAssistant: 5"})");
  ASSERT_TRUE(texts.ok()) << texts.status();
  EXPECT_EQ(texts->prompt_tokens, PromptTokens(kThreeMessages));
  EXPECT_EQ(Decoded(texts->chosen_tokens), "4\nfour");
  EXPECT_EQ(Decoded(texts->rejected_tokens), "5");
}

TEST(PreferenceFileTest, TokensNeedNoTokenizer) {
  const auto pair =
      Parse(R"({"prompt_tokens": [1, 2], "chosen_tokens": [3], "rejected_tokens": [999, 5]})",
            NoTokenizer());
  ASSERT_TRUE(pair.ok()) << pair.status();
  EXPECT_THAT(pair->prompt_tokens, ElementsAre(1, 2));
  EXPECT_THAT(pair->chosen_tokens, ElementsAre(3));
  EXPECT_THAT(pair->rejected_tokens, ElementsAre(999, 5));
  const auto text = Parse(R"({"prompt": "a", "chosen": "b", "rejected": "c"})", NoTokenizer());
  EXPECT_THAT(std::string(text.status().message()), HasSubstr("no tokenizer.json"));
}

TEST(PreferenceFileTest, NamesTheFieldOfWhatIsWrong) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"prompt")", "not a JSON object"},
      {R"([1])", "not a JSON object"},
      {R"({"prompt": "a", "rejected": "b"})", "field 'chosen': missing"},
      {R"({"prompt": "a", "chosen": "b"})", "field 'rejected': missing"},
      {R"({"prompt": "a", "chosen": "", "rejected": "b"})", "field 'chosen': is empty"},
      {R"({"prompt": "a", "chosen": 1, "rejected": "b"})", "field 'chosen': must be a text or"},
      {R"({"prompt": "a", "chosen": "b", "rejected": []})", "field 'rejected': must be a text if"},
      {R"({"prompt": 1, "chosen": "b", "rejected": "c"})", "field 'prompt': must be a text or"},
      {R"({"prompt": [], "chosen": "b", "rejected": "c"})", "field 'prompt': has no messages"},
      {R"({"chosen": "b", "rejected": "c"})", "field 'prompt': missing, and 'chosen' is no"},
      {R"({"chosen": [], "rejected": []})", "field 'chosen': has no messages"},
      {R"({"chosen": [{"role": "user"}], "rejected": []})", "a text 'role' and 'content'"},
      {R"({"chosen": ["a"], "rejected": ["b"]})", "a text 'role' and 'content'"},
      {R"({"chosen": [{"role": "user", "content": "a"}],
           "rejected": [{"role": "user", "content": "b"}]})",
       "field 'chosen': ends with a message of 'user'"},
      {R"({"chosen": [{"role": "assistant", "content": "a"}],
           "rejected": [{"role": "assistant", "content": "b"}]})",
       "field 'prompt': missing, and the answers have nothing before them"},
      {R"({"chosen": "Human: a\n\nAssistant: b", "rejected": "Human: c\n\nAssistant: d"})",
       "field 'rejected': differs from 'chosen' before the last message"},
      {R"({"prompt": "b", "chosen": [{"role": "user", "content": "a"},
           {"role": "assistant", "content": "c"}], "rejected": [{"role": "user", "content": "a"},
           {"role": "assistant", "content": "d"}]})",
       "field 'prompt': is no message of the user"},
      {R"({"prompt_tokens": [1], "chosen_tokens": [1]})", "field 'rejected_tokens': missing"},
      {R"({"prompt_tokens": [1], "chosen_tokens": [], "rejected_tokens": [1]})",
       "field 'chosen_tokens': is empty"},
      {R"({"prompt_tokens": [1], "chosen_tokens": [1000], "rejected_tokens": [1]})",
       "field 'chosen_tokens': token id 1000 is outside the vocabulary of 1000"},
      {R"({"prompt": "a", "chosen_tokens": [2], "rejected_tokens": [1]})",
       "has fields of text and fields of tokens"},
  };
  for (const auto& [line, message] : cases) {
    const auto pair = Parse(line);
    ASSERT_FALSE(pair.ok()) << line;
    EXPECT_THAT(std::string(pair.status().message()), HasSubstr(message)) << line;
  }
}

TEST(PreferenceFileTest, RejectedLinesAreListedAsJsonWithTheirBeginning) {
  std::string longest = "\u00e9";  // two bytes a character
  while (longest.size() < 600) longest += "\u00e9";
  const std::vector<RejectedLine> rejects = {MakeRejectedLine(3, "not a JSON object", longest),
                                             MakeRejectedLine(4, "is about \"seven\"", "{}"),
                                             MakeRejectedLine(5, "not a JSON object", "\xff")};
  EXPECT_EQ(rejects[0].beginning, longest.substr(0, 2 * kBeginningCharacters));

  const std::string lines = RejectsJsonl(rejects);
  std::vector<nlohmann::json> read;
  for (size_t begin = 0; begin < lines.size(); begin = lines.find('\n', begin) + 1) {
    read.push_back(nlohmann::json::parse(lines.substr(begin, lines.find('\n', begin) - begin)));
  }
  ASSERT_EQ(read.size(), 3u);
  EXPECT_EQ(read[0]["line"], 3);
  EXPECT_EQ(read[0]["beginning"], rejects[0].beginning);
  EXPECT_EQ(read[1]["reason"], "is about \"seven\"");
  EXPECT_EQ(read[2]["beginning"], "\xef\xbf\xbd");  // the byte that is no character
}

}  // namespace
}  // namespace dtrpo::text

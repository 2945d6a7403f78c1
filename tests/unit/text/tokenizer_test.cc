#include "common/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/memory_file_system.h"
#include "common/base/philox.h"
#include "common/text/chat_template.h"
#include "tests/unit/text/golden.h"

namespace dtrpo::text {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class TokenizerGoldenTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto loaded = Tokenizer::Load(GoldenFolder(GetParam()));
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    tokenizer_ = *std::move(loaded);
    golden_ = Golden()["tokenizers"][GetParam()];
    ASSERT_GE(golden_["cases"].size(), 20u);
  }

  // Every piece is UTF-8, and together they are what Decode() says.
  void ExpectStreamsItsText(const std::vector<int32_t>& ids) const {
    StreamDecoder stream(tokenizer_.get(), /*skip_special=*/false);
    std::string text;
    for (const int32_t id : ids) {
      const std::string piece = stream.Append(id).value();
      EXPECT_TRUE(IsUtf8(piece));
      text += piece;
    }
    text += stream.Flush().value();
    EXPECT_EQ(text, tokenizer_->Decode(ids, /*skip_special=*/false).value());
  }

  static bool IsUtf8(const std::string& text) {
    try {
      return !nlohmann::json(text).dump().empty();
    } catch (const nlohmann::json::exception&) {
      return false;
    }
  }

  // GPT-2's spelling: printable bytes are themselves, the others follow from U+0100 on.
  int32_t ByteToken(char byte) const {
    const auto is_printable = [](int b) {
      return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    };
    const int value = static_cast<unsigned char>(byte);
    int code = value;
    if (!is_printable(value)) {
      code = 0x100;
      for (int b = 0; b < value; ++b) code += is_printable(b) ? 0 : 1;
    }
    std::string spelling;
    if (code < 0x80) {
      spelling = static_cast<char>(code);
    } else {
      spelling = {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
    }
    return tokenizer_->TokenId(spelling).value();
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  nlohmann::ordered_json golden_;
};

INSTANTIATE_TEST_SUITE_P(Families, TokenizerGoldenTest, testing::Values("qwen", "llama3"));

TEST_P(TokenizerGoldenTest, EncodesAsTransformersDoes) {
  for (const auto& c : golden_["cases"]) {
    const std::string text = c["text"];
    EXPECT_EQ(tokenizer_->Encode(text).value(), c["ids"].get<std::vector<int32_t>>()) << text;
    EXPECT_EQ(tokenizer_->Encode(text, /*add_special=*/true).value(),
              c["ids_with_special"].get<std::vector<int32_t>>())
        << text;
  }
}

TEST_P(TokenizerGoldenTest, DecodesAsTransformersDoes) {
  for (const auto& c : golden_["cases"]) {
    const auto ids = c["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer_->Decode(ids, /*skip_special=*/false).value(), c["decoded"]);
    EXPECT_EQ(tokenizer_->Decode(ids).value(), c["decoded_skip_special"]);
  }
}

TEST_P(TokenizerGoldenTest, StreamsThePiecesOfTheWholeText) {
  for (const auto& c : golden_["cases"]) {
    StreamDecoder stream(tokenizer_.get(), /*skip_special=*/false);
    std::string text;
    for (const int32_t id : c["ids"].get<std::vector<int32_t>>()) {
      text += stream.Append(id).value();
    }
    text += stream.Flush().value();
    EXPECT_EQ(text, c["decoded"]);
  }
}

// Conversations by the folder's own template, as apply_chat_template(tokenize=True) gives them.
TEST_P(TokenizerGoldenTest, EncodesConversationsAsTransformersDoes) {
  const auto chat_template = ChatTemplate::Load(GoldenFolder(GetParam()));
  ASSERT_TRUE(chat_template.ok()) << chat_template.status();
  ASSERT_GE(golden_["chats"].size(), 8u);
  for (const auto& c : golden_["chats"]) {
    const auto rendered =
        (*chat_template)
            ->RenderJson(Golden()["chats"][std::string(c["chat"])].dump(),
                         {.add_generation_prompt = c["add_generation_prompt"],
                          .now = absl::FromUnixSeconds(Golden()["now_unix_seconds"])});
    ASSERT_TRUE(rendered.ok()) << rendered.status();
    EXPECT_EQ(tokenizer_->Encode(*rendered).value(), c["ids"].get<std::vector<int32_t>>())
        << *rendered;
  }
}

TEST_P(TokenizerGoldenTest, EncodesVeryLongTextsAsTransformersDoes) {
  ASSERT_EQ(golden_["long"].size(), 4u);
  for (const auto& c : golden_["long"]) {
    std::string text;
    for (int i = 0; i < c["count"]; ++i) text += std::string(c["piece"]);
    const std::vector<int32_t> ids = tokenizer_->Encode(text).value();
    ASSERT_EQ(ids.size(), c["ids"]) << c["piece"];
    int64_t sum = 0;
    for (size_t i = 0; i < ids.size(); ++i) sum += static_cast<int64_t>(i + 1) * ids[i];
    EXPECT_EQ(sum, c["weighted_sum"]) << c["piece"];
  }
}

// From wherever a stream begins, whatever character that cuts in two.
TEST_P(TokenizerGoldenTest, StreamsFromEveryTokenOn) {
  for (const auto& c : golden_["cases"]) {
    const auto ids = c["ids"].get<std::vector<int32_t>>();
    const size_t last = std::min<size_t>(ids.size(), 60);
    for (size_t begin = 0; begin < last; ++begin) {
      ExpectStreamsItsText({ids.begin() + begin, ids.begin() + last});
    }
  }
}

// Bytes in any order, most of them no characters; and characters in tokens of one byte each.
TEST_P(TokenizerGoldenTest, StreamsEveryByteSequence) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    base::CounterRng rng(seed, 0);
    std::vector<int32_t> ids;
    for (uint64_t count = 1 + rng.UniformInt(24); count > 0; --count) {
      ids.push_back(ByteToken(static_cast<char>(rng.UniformInt(256))));
    }
    ExpectStreamsItsText(ids);
  }
  for (const char* text : {"\U0001F468\u200D\U0001F469\u200D\U0001F467", "e\u0301\u4E2D",
                           "\U0001F1E9\U0001F1EA\uFFFD!"}) {
    std::vector<int32_t> ids;
    for (const char* byte = text; *byte != '\0'; ++byte) ids.push_back(ByteToken(*byte));
    ASSERT_EQ(tokenizer_->Decode(ids).value(), text);
    ExpectStreamsItsText(ids);
    std::string streamed;
    StreamDecoder stream(tokenizer_.get());
    for (size_t i = 0; i < ids.size(); ++i) {
      streamed += stream.Append(ids[i]).value();
      // All characters that are complete, and nothing else; U+FFFD itself may be the start of more.
      const std::string sofar(text, i + 1);
      if (IsUtf8(sofar) && !absl::EndsWith(sofar, "\uFFFD")) {
        EXPECT_EQ(streamed, sofar);
      }
    }
  }
}

TEST_P(TokenizerGoldenTest, KnowsItsVocabulary) {
  EXPECT_EQ(tokenizer_->vocab_size(), golden_["vocab_size"]);
  EXPECT_EQ(tokenizer_->SpecialTokenId("eos_token"), golden_["eos_token_id"].get<int32_t>());
  EXPECT_EQ(tokenizer_->SpecialTokenId("sep_token"), std::nullopt);
  EXPECT_EQ(tokenizer_->TokenId("no such token"), std::nullopt);
  EXPECT_EQ(tokenizer_->TokenText(100000), std::nullopt);
  EXPECT_EQ(tokenizer_->TokenText(-1), std::nullopt);
}

std::unique_ptr<Tokenizer> Qwen() { return Tokenizer::Load(GoldenFolder("qwen")).value(); }

TEST(TokenizerTest, AddsTheMaskThatOnlyTheConfigNames) {
  const auto tokenizer = Qwen();
  const int32_t mask = Golden()["tokenizers"]["qwen"]["mask_id"];
  EXPECT_EQ(tokenizer->TokenId("|<MASK>|"), mask);
  EXPECT_EQ(tokenizer->TokenText(mask), "|<MASK>|");
  EXPECT_EQ(tokenizer->Encode("|<MASK>|").value(), std::vector<int32_t>{mask});
  EXPECT_EQ(tokenizer->Decode({mask}).value(), "");
}

TEST(TokenizerTest, DecodesSpareIdsToNothingAndRefusesNegativeOnes) {
  const auto tokenizer = Qwen();
  std::vector<int32_t> ids = tokenizer->Encode("ab").value();
  ids.push_back(1'000'000);
  EXPECT_EQ(tokenizer->Decode(ids).value(), "ab");
  EXPECT_EQ(tokenizer->Decode({}).value(), "");
  EXPECT_EQ(tokenizer->Decode({-1}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(TokenizerTest, RefusesTextThatIsNotUtf8) {
  const auto ids = Qwen()->Encode("abc\xff");
  EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(ids.status().message(), HasSubstr("UTF-8"));
}

TEST(TokenizerTest, HoldsBackHalfACharacter) {
  const auto tokenizer = Qwen();
  // Outside the training text, so one token per byte: F0 9D 94 98.
  const std::vector<int32_t> ids = tokenizer->Encode("\U0001D518").value();
  ASSERT_EQ(ids.size(), 4u);
  StreamDecoder stream(tokenizer.get());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(stream.Append(ids[i]).value(), "");
  EXPECT_EQ(stream.Append(ids[3]).value(), "\U0001D518");
  EXPECT_EQ(stream.Append(ids[0]).value(), "");
  EXPECT_EQ(stream.Flush().value(), "\uFFFD");
  EXPECT_EQ(stream.Append(tokenizer->TokenId("a").value()).value(), "a");
}

TEST(TokenizerTest, ServesManyThreads) {
  const auto tokenizer = Qwen();
  const std::string text = Golden()["tokenizers"]["qwen"]["cases"].back()["text"];
  const std::vector<int32_t> expected = tokenizer->Encode(text).value();
  std::vector<std::thread> threads;
  std::atomic<int> equal = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) equal += tokenizer->Encode(text).value() == expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, 4 * 20);
}

class TokenizerFilesTest : public testing::Test {
 protected:
  TokenizerFilesTest() {
    base::FileSystem* const disk = base::PosixFileSystem();
    for (const char* name : {"tokenizer.json", "tokenizer_config.json", "added_tokens.json"}) {
      Put(name, disk->Read(GoldenFolder("qwen") + "/" + name).value());
    }
  }
  void Put(const std::string& name, const std::string& content) {
    ASSERT_TRUE(files_.MakeDirectories("m").ok());
    ASSERT_TRUE(files_.Create("m/" + name).value()->Append(content).ok());
  }
  std::string LoadError() {
    const auto loaded = Tokenizer::Load("m", &files_);
    EXPECT_EQ(loaded.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(loaded.status().message());
  }

  base::MemoryFileSystem files_;
};

TEST_F(TokenizerFilesTest, NeedsOnlyTokenizerJson) {
  ASSERT_TRUE(files_.RemoveFile("m/tokenizer_config.json").ok());
  ASSERT_TRUE(files_.RemoveFile("m/added_tokens.json").ok());
  const auto tokenizer = Tokenizer::Load("m", &files_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->TokenId("|<MASK>|"), std::nullopt);
  ASSERT_TRUE(files_.RemoveFile("m/tokenizer.json").ok());
  EXPECT_TRUE(absl::IsNotFound(Tokenizer::Load("m", &files_).status()));
}

TEST_F(TokenizerFilesTest, AddsTheMaskOfAddedTokensJson) {
  ASSERT_TRUE(files_.RemoveFile("m/tokenizer_config.json").ok());
  const auto tokenizer = Tokenizer::Load("m", &files_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const int32_t mask = Golden()["tokenizers"]["qwen"]["mask_id"];
  EXPECT_EQ((*tokenizer)->TokenId("|<MASK>|"), mask);
}

TEST_F(TokenizerFilesTest, NamesTheFileOfEachFault) {
  Put("added_tokens.json", R"({"|<MASK>|": 7})");
  EXPECT_THAT(LoadError(), AllOf(HasSubstr("m/added_tokens.json"), HasSubstr("|<MASK>|"),
                                 HasSubstr("has id 7")));
  Put("added_tokens.json", R"({"|<MASK>|": -7})");
  EXPECT_THAT(LoadError(), AllOf(HasSubstr("m/added_tokens.json"), HasSubstr("token id")));
  Put("tokenizer_config.json", R"({"eos_token": 3})");
  EXPECT_THAT(LoadError(), AllOf(HasSubstr("m/tokenizer_config.json"), HasSubstr("eos_token")));
  Put("tokenizer_config.json", R"({"added_tokens_decoder": {"x": {}}})");
  EXPECT_THAT(LoadError(), HasSubstr("added_tokens_decoder.x"));
  Put("tokenizer_config.json", R"({"added_tokens_decoder": {"605": {"special": true}}})");
  EXPECT_THAT(LoadError(), HasSubstr("added_tokens_decoder.605.content"));
  Put("tokenizer.json", R"({"version": "1.0", "model": {"type": "Nonsense"}})");
  EXPECT_THAT(LoadError(), HasSubstr("m/tokenizer.json"));
  Put("tokenizer.json", "{\"version\": ");
  EXPECT_THAT(LoadError(), HasSubstr("m/tokenizer.json"));
}

}  // namespace
}  // namespace dtrpo::text

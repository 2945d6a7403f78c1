#include "common/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "common/base/memory_file_system.h"
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

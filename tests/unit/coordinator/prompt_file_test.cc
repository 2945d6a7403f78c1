#include "services/coordinator/prompt_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "common/base/memory_file_system.h"

namespace dtrpo::coordinator {
namespace {

using testing::HasSubstr;

class PromptFileTest : public testing::Test {
 protected:
  absl::StatusOr<PromptLines> Read(const std::string& content, const PromptCheck& check) {
    auto file = files_.Create("p.jsonl");
    EXPECT_TRUE(file.ok());
    EXPECT_TRUE((*file)->Append(content).ok());
    return ReadPromptFile(&files_, "p.jsonl", check);
  }

  // As jobs do it, with a checkpoint folder that has no tokenizer.
  PromptCheck JobCheck() {
    job::JobSpec spec;
    spec.model.path = testing::TempDir() + "/no-such-checkpoint";
    spec.data.max_prompt_tokens = 3;
    return *MakePromptCheck(spec);
  }

  base::MemoryFileSystem files_;
};

absl::Status AcceptAll(absl::string_view) { return absl::OkStatus(); }

TEST_F(PromptFileTest, KeepsLinesAsTheyStandAndSkipsBlankOnes) {
  const auto lines = Read("{\"id\": 1}\n\n  {\"id\": 2}\r\n{\"id\": 3}", AcceptAll);
  ASSERT_TRUE(lines.ok()) << lines.status();
  EXPECT_EQ(*lines, (PromptLines{"{\"id\": 1}", "{\"id\": 2}", "{\"id\": 3}"}));
}

TEST_F(PromptFileTest, NamesTheFileAndTheLineOfABadPrompt) {
  const auto lines = Read("good\n\nbad\n", [](absl::string_view line) {
    return line == "bad" ? absl::InvalidArgumentError("not JSON") : absl::OkStatus();
  });
  EXPECT_TRUE(absl::IsInvalidArgument(lines.status()));
  EXPECT_EQ(lines.status().message(), "p.jsonl:3: not JSON");
}

TEST_F(PromptFileTest, AMissingFileIsNotFoundAndAnEmptyOneIsRefused) {
  EXPECT_TRUE(absl::IsNotFound(ReadPromptFile(&files_, "nowhere.jsonl", AcceptAll).status()));
  EXPECT_THAT(std::string(Read("\n\n", AcceptAll).status().message()), HasSubstr("no prompt"));
}

TEST_F(PromptFileTest, RefusesALineThatIsLongerThanTheLimit) {
  const auto lines = Read(std::string(kMaxPromptLineBytes + 1, 'x'), AcceptAll);
  EXPECT_TRUE(absl::IsInvalidArgument(lines.status()));
}

TEST_F(PromptFileTest, TokenIdsNeedNoTokenizer) {
  EXPECT_TRUE(Read(R"({"id": "1", "prompt_tokens": [5, 6, 7], "answer": "8"})", JobCheck()).ok());
}

TEST_F(PromptFileTest, APromptThatIsTooLongIsRefusedAtSubmit) {
  const auto lines =
      Read(R"({"id": "1", "prompt_tokens": [5, 6, 7, 8], "answer": "8"})", JobCheck());
  EXPECT_THAT(std::string(lines.status().message()),
              HasSubstr("4 tokens; data.max_prompt_tokens is 3"));
}

TEST_F(PromptFileTest, AMissingAnswerIsRefusedByItsFieldsName) {
  const auto lines = Read(R"({"id": "1", "prompt_tokens": [5]})", JobCheck());
  EXPECT_THAT(std::string(lines.status().message()), HasSubstr("p.jsonl:1: field 'answer'"));
}

TEST_F(PromptFileTest, BrokenJsonIsRefusedWithItsLine) {
  const auto lines =
      Read("{\"id\": \"1\", \"prompt_tokens\": [5], \"answer\": 3}\n{oops\n", JobCheck());
  EXPECT_THAT(std::string(lines.status().message()), HasSubstr("p.jsonl:2:"));
}

}  // namespace
}  // namespace dtrpo::coordinator

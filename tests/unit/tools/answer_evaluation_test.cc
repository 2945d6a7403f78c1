#include "tools/dtrpo/answer_evaluation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dtrpo::tools {
namespace {

using ::testing::HasSubstr;

text::Prompt PromptWithAnswer(const std::string& id, const std::string& answer) {
  text::Prompt prompt;
  prompt.id = id;
  prompt.tokens = {1, 2, 3, 4};
  prompt.answer = answer;
  prompt.line = 7;
  return prompt;
}

// An answer of a block of four tokens, of which at most `max_new_tokens` count.
trajectory::Trajectory Answer(const std::string& text, int32_t stop_index,
                              int32_t max_new_tokens = 4) {
  trajectory::Trajectory t;
  t.response_tokens = {5, 6, 7, 8};
  t.block_size = 4;
  t.stop_index = stop_index;
  t.sampler.max_new_tokens = max_new_tokens;
  t.text = text;
  return t;
}

absl::StatusOr<std::vector<JudgedAnswer>> Judge(
    const std::string& verifier, const std::vector<text::Prompt>& prompts,
    const std::vector<trajectory::Trajectory>& answers) {
  return JudgeAnswers(prompts, answers, **reward::Verifier::Create(verifier));
}

TEST(AnswerEvaluationTest, OnlyFinishedAndEqualAnswersAreCorrect) {
  const auto judged =
      Judge("exact",
            {PromptWithAnswer("right", "55"), PromptWithAnswer("wrong", "55"),
             PromptWithAnswer("unfinished", "55"), PromptWithAnswer("stop beyond M", "55")},
            {Answer("55", 2), Answer("54", 2), Answer("55", -1), Answer("55", 3, 3)});
  ASSERT_TRUE(judged.ok()) << judged.status();
  ASSERT_EQ(judged->size(), 4u);
  EXPECT_TRUE((*judged)[0].correct);
  EXPECT_FALSE((*judged)[1].correct);
  EXPECT_THAT((*judged)[1].reason, HasSubstr("'54' is not '55'"));
  EXPECT_FALSE((*judged)[2].correct);
  EXPECT_FALSE((*judged)[2].finished);
  EXPECT_FALSE((*judged)[3].correct);
  EXPECT_FALSE((*judged)[3].finished);
  EXPECT_EQ((*judged)[1].id, "wrong");
  EXPECT_EQ((*judged)[1].expected, "55");
  EXPECT_EQ((*judged)[1].text, "54");
}

TEST(AnswerEvaluationTest, TheVerifierDecidesWhatEqualMeans) {
  const std::vector<text::Prompt> prompts = {PromptWithAnswer("a", "1,055")};
  EXPECT_TRUE(Judge("number", prompts, {Answer("it is 1055.0", 2)})->front().correct);
  EXPECT_FALSE(Judge("exact", prompts, {Answer("it is 1055.0", 2)})->front().correct);
}

TEST(AnswerEvaluationTest, AnExpectedAnswerThatCannotBeJudgedAgainstIsAFaultOfTheData) {
  const absl::Status status =
      Judge("number", {PromptWithAnswer("a", "many")}, {Answer("3", 2)}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("prompt 'a' (line 7)"));
}

TEST(AnswerEvaluationTest, AccuracyAndTokensPerForwardAreShares) {
  Evaluation evaluation;
  EXPECT_EQ(evaluation.Accuracy(), 0);
  EXPECT_EQ(evaluation.TokensPerForward(), 0);
  evaluation.answers.resize(8);
  evaluation.correct = 6;
  evaluation.tokens = 30;
  evaluation.forwards = 20;
  EXPECT_DOUBLE_EQ(evaluation.Accuracy(), 0.75);
  EXPECT_DOUBLE_EQ(evaluation.TokensPerForward(), 1.5);
}

}  // namespace
}  // namespace dtrpo::tools

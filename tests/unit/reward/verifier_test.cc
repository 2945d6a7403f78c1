#include "common/reward/verifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "common/reward/text_verifiers.h"

namespace dtrpo::reward {
namespace {

using ::testing::HasSubstr;

Judgement JudgeBy(const std::string& rule, const std::string& text, const std::string& expected) {
  const auto verifier = Verifier::Create(rule);
  EXPECT_TRUE(verifier.ok()) << verifier.status();
  const auto judgement = (*verifier)->Judge({text, true, 1}, expected);
  EXPECT_TRUE(judgement.ok()) << judgement.status();
  return judgement.value_or(Judgement{-1, false, "no judgement"});
}

TEST(VerifierTest, ExactComparesTrimmedTexts) {
  EXPECT_EQ(JudgeBy("exact", " 55\n", "55").reward, 1);
  EXPECT_EQ(JudgeBy("exact", "56", "55").reward, 0);
  EXPECT_THAT(JudgeBy("exact", "56", "55").reason, HasSubstr("'56' is not '55'"));
  EXPECT_EQ(JudgeBy("exact", "5 5", "55").reward, 0);
}

TEST(VerifierTest, NormalisedForgivesCasePunctuationAndArticles) {
  EXPECT_EQ(Normalised("  The  Quick-Brown fox! "), "quickbrown fox");
  EXPECT_EQ(JudgeBy("normalised", "the Eiffel Tower.", "Eiffel tower").reward, 1);
  EXPECT_EQ(JudgeBy("normalised", "an apple", "apples").reward, 0);
  EXPECT_EQ(JudgeBy("normalised", "Zoë", "zoë").reward, 1);
  const auto empty = (*Verifier::Create("normalised"))->Judge({"", true, 1}, "the ...");
  EXPECT_EQ(empty.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(VerifierTest, NumberComparesNumbers) {
  EXPECT_EQ(JudgeBy("number", "so 1,000.0 it is.", "#### 1000").reward, 1);
  EXPECT_EQ(JudgeBy("number", "1000 or 999", "1000").reward, 0);
  EXPECT_EQ(JudgeBy("number", "half: \\frac{1}{2}", "0.5").reward, 1);
  EXPECT_EQ(JudgeBy("number", "1000 or 999", "1000").reason, "'999' is not '1000'");
  EXPECT_EQ(JudgeBy("number", "a thousand", "1000").reason, "no number in the answer");
}

TEST(VerifierTest, RegexMatchesSomewhereUnlessThePatternSaysOtherwise) {
  EXPECT_EQ(JudgeBy("regex:\\d+", "abc 12", "").reward, 1);
  EXPECT_EQ(JudgeBy("regex:^\\d+$", "abc 12", "").reward, 0);
  EXPECT_EQ(JudgeBy("regex:(?i)^answer: {expected}\\.?$", "Answer: 1+1", "1+1").reward, 1);
  EXPECT_EQ(JudgeBy("regex:(?i)^answer: {expected}\\.?$", "Answer: 111", "1+1").reward, 0);
  EXPECT_EQ(JudgeBy("regex:^(a+)+$", std::string(5000, 'a') + "b", "").reward, 0)
      << "linear, whatever the pattern";
  EXPECT_THAT(std::string(Verifier::Create("regex:(").status().message()), HasSubstr("no pattern"));
  EXPECT_FALSE(Verifier::Create("regex").ok());
}

TEST(VerifierTest, AnUnfinishedAnswerIsWrongEvenIfItSaysTheRightThing) {
  for (const char* name : {"exact", "number", "normalised", "regex:55", "length:1..9"}) {
    const auto judgement = (*Verifier::Create(name))->Judge({"55", false, 1}, "55");
    EXPECT_EQ(judgement->reward, 0) << name;
    EXPECT_FALSE(judgement->correct) << name;
    EXPECT_EQ(judgement->reason, "no stop token") << name;
  }
}

TEST(VerifierTest, DataThatCannotBeJudgedIsAnErrorNotAZero) {
  const auto judgement = (*Verifier::Create("number"))->Judge({"55", false, 1}, "fifty-five");
  EXPECT_EQ(judgement.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(judgement.status().message()), HasSubstr("fifty-five"));
}

TEST(VerifierTest, UnknownRulesAreRefusedWithTheKnownOnes) {
  EXPECT_EQ(Verifier::Create("judge").status().message(),
            "'judge' is none of 'exact', 'normalised', 'number', 'choice', 'regex', 'json_schema', "
            "'length', 'tags'");
  EXPECT_THAT(std::string(Verifier::Create("exact:x").status().message()), HasSubstr("'exact'"));
}

}  // namespace
}  // namespace dtrpo::reward

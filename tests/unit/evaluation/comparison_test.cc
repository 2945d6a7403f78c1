#include "common/evaluation/comparison.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace dtrpo::evaluation {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Run MakeRun(const std::string& folder, const std::string& unmask, const std::string& right) {
  Run run;
  run.folder = folder;
  for (size_t i = 0; i < right.size(); ++i) {
    JudgedAnswer answer;
    answer.unmask = unmask;
    answer.id = absl::StrCat("q", i);
    answer.categories = {i % 2 == 0 ? "even" : "odd"};
    answer.expected = "4";
    answer.correct = right[i] == '+';
    answer.tokens = 4;
    answer.forwards = unmask == "threshold:1" ? 4 : 2;
    run.answers.push_back(answer);
  }
  return run;
}

TEST(ComparisonTest, SaysWhichQuestionsFlipped) {
  const auto comparison = CompareRuns(MakeRun("a", "threshold:1", "++--+"),
                                      MakeRun("b", "threshold:1", "+-++-"), "", "", 1);
  ASSERT_TRUE(comparison.ok()) << comparison.status();
  const PolicyComparison& policy = comparison->policies.front();
  std::vector<std::string> flipped;
  for (const ComparedQuestion& question : policy.questions) {
    if (question.flip == Flip::kGained) flipped.push_back(question.id + "+");
    if (question.flip == Flip::kLost) flipped.push_back(question.id + "-");
  }
  EXPECT_THAT(flipped, ElementsAre("q1-", "q2+", "q3+", "q4-"));
  EXPECT_EQ(policy.gained, 2);
  EXPECT_EQ(policy.lost, 2);
  ASSERT_EQ(policy.differences.size(), 3u);  // all, even, odd
  EXPECT_DOUBLE_EQ(policy.differences[0].paired.difference, 0);
  EXPECT_EQ(policy.differences[2].category, "odd");
  EXPECT_EQ(policy.differences[2].paired.questions, 2);
  EXPECT_THAT(ComparisonText(*comparison), HasSubstr("2 questions gained, 2 lost of 5"));
  EXPECT_THAT(ComparisonJson(*comparison), HasSubstr("\"gained\""));
}

TEST(ComparisonTest, TwoPoliciesOfOneModelCanBeCompared) {
  const auto comparison = CompareRuns(MakeRun("a", "threshold:1", "++"),
                                      MakeRun("b", "threshold:0.5", "+-"), "", "", 1);
  ASSERT_TRUE(comparison.ok()) << comparison.status();
  EXPECT_DOUBLE_EQ(comparison->policies[0].TokensPerForwardA(), 1);
  EXPECT_DOUBLE_EQ(comparison->policies[0].TokensPerForwardB(), 2);
}

TEST(ComparisonTest, QuestionsOfOneRunOnlyAreLeftOutAndCounted) {
  const auto comparison =
      CompareRuns(MakeRun("a", "steps:2", "+++"), MakeRun("b", "steps:2", "+"), "", "", 1);
  ASSERT_TRUE(comparison.ok()) << comparison.status();
  EXPECT_EQ(comparison->policies[0].only_in_a, 2);
  EXPECT_EQ(comparison->policies[0].questions.size(), 1u);
}

TEST(ComparisonTest, OtherDataIsRefused) {
  auto other = MakeRun("b", "steps:2", "+");
  other.answers[0].expected = "5";
  const auto refused = CompareRuns(MakeRun("a", "steps:2", "+"), other, "", "", 1);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("question 'q0' expects '4'"));
  EXPECT_FALSE(
      CompareRuns(MakeRun("a", "steps:2", "+"), MakeRun("b", "steps:2", ""), "", "", 1).ok());
}

}  // namespace
}  // namespace dtrpo::evaluation

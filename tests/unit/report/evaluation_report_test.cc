#include "common/report/evaluation_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dtrpo::report {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

evaluation::JudgedAnswer Answer(const std::string& id, bool correct) {
  evaluation::JudgedAnswer answer;
  answer.unmask = "threshold:0.9";
  answer.id = id;
  answer.categories = {"sums"};
  answer.question = "<b>2+2</b>";
  answer.expected = "4";
  answer.answer = "<i>4";
  answer.correct = correct;
  answer.tokens = 4;
  answer.forwards = 2;
  answer.pieces = {"<i>", "4"};
  answer.steps = {2, 1};
  return answer;
}

evaluation::Run SmallRun(bool right) {
  evaluation::Run run;
  run.folder = "runs/a";
  run.settings = {{"pass_k", {1}}};
  run.answers = {Answer("q1", true), Answer("q2", right)};
  return run;
}

TEST(EvaluationReportTest, NeedsNoOtherFileAndAnswersAreNoMarkup) {
  const auto comparison = evaluation::CompareRuns(SmallRun(true), SmallRun(false), "", "", 1);
  ASSERT_TRUE(comparison.ok()) << comparison.status();
  for (const std::string& page :
       {EvaluationReport(SmallRun(true)), ComparisonReport(*comparison)}) {
    EXPECT_THAT(page, Not(HasSubstr("http")));
    EXPECT_THAT(page, Not(HasSubstr("src=")));
    EXPECT_THAT(page, Not(HasSubstr("<b>2+2")));
    EXPECT_THAT(page, Not(HasSubstr("><i>")));
    EXPECT_THAT(page, HasSubstr("&lt;i&gt;"));
  }
}

TEST(EvaluationReportTest, ShowsNumbersAndTheOrderOfUnmasking) {
  const std::string page = EvaluationReport(SmallRun(false));
  EXPECT_THAT(page, HasSubstr("50.0 % ["));
  EXPECT_THAT(page, HasSubstr("<td>2.000</td>"));  // tokens per forward
  EXPECT_THAT(page, HasSubstr("<td>sums</td>"));
  EXPECT_THAT(page, HasSubstr("data-step='2' style='--order:1.00'>&lt;i&gt;</span>"));
}

TEST(EvaluationReportTest, ThePlotNamesItsPoliciesAndTakesTheSmallestK) {
  evaluation::Run run = SmallRun(false);
  run.settings = {{"pass_k", {2, 1}}};
  for (evaluation::JudgedAnswer answer : std::vector(run.answers)) {
    answer.sample = 1;
    answer.correct = true;
    run.answers.push_back(answer);
  }
  const std::string page = EvaluationReport(run);
  EXPECT_THAT(page, HasSubstr("Accuracy (pass@1) against"));
  EXPECT_THAT(page, HasSubstr("<title>threshold:0.9, 2: 0.75</title>"));
  EXPECT_THAT(page, HasSubstr(">threshold:0.9</text>"));
}

TEST(EvaluationReportTest, EndlessAnswersDontMakeAnEndlessPage) {
  evaluation::Run run = SmallRun(true);
  run.answers.clear();
  for (int i = 0; i < 100; ++i) {
    evaluation::JudgedAnswer answer = Answer(std::to_string(i), i % 2 == 0);
    answer.question.assign(40000, '<');
    answer.pieces.assign(12000, "é<");
    answer.steps.assign(12000, 1);
    for (const std::string& piece : answer.pieces) answer.answer += piece;
    run.answers.push_back(std::move(answer));
  }
  const std::string page = EvaluationReport(run);
  EXPECT_LT(page.size(), size_t{10} << 20);
  EXPECT_THAT(page, HasSubstr("é&lt; … (36004 bytes)"));
}

TEST(EvaluationReportTest, ARunWithoutAnswersIsAPageToo) {
  evaluation::Run run = SmallRun(true);
  run.answers.clear();
  EXPECT_THAT(EvaluationReport(run), HasSubstr("The run"));
}

TEST(EvaluationReportTest, AFlippedQuestionIsMarkedLost) {
  const auto comparison = evaluation::CompareRuns(SmallRun(true), SmallRun(false), "", "", 1);
  ASSERT_TRUE(comparison.ok()) << comparison.status();
  const std::string page = ComparisonReport(*comparison);
  EXPECT_THAT(page, HasSubstr("<details class='lost'><summary>q2: lost, A 100.0 %, B 0.0 %"));
  EXPECT_THAT(page, HasSubstr("<details class='both-right'><summary>q1"));
}

}  // namespace
}  // namespace dtrpo::report

#include "tools/report/html_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "tests/unit/report/job_status.h"

namespace dtrpo::tools {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string Page() { return HtmlReport(SmallJob(), Summarise(SmallJob())); }

TEST(HtmlReportTest, NeedsNoOtherFile) {
  EXPECT_THAT(Page(), Not(HasSubstr("http")));
  EXPECT_THAT(Page(), Not(HasSubstr("src=")));
  EXPECT_THAT(Page(), Not(HasSubstr("@import")));
}

TEST(HtmlReportTest, AModelsAnswerIsNoMarkup) {
  EXPECT_THAT(Page(), Not(HasSubstr("<b>7</b>")));
  EXPECT_THAT(Page(), HasSubstr("&lt;b&gt;7&lt;/b&gt;"));
}

TEST(HtmlReportTest, ShowsAccuracyRewardAndAnswers) {
  EXPECT_THAT(Page(), HasSubstr("50.0 % → 75.0 %"));
  EXPECT_THAT(Page(), HasSubstr("<title>3: 0.75</title>"));  // the last point of the accuracy
  EXPECT_THAT(Page(), HasSubstr("Reward of sampled answers"));
  EXPECT_THAT(Page(), HasSubstr("user 1+2= assistant"));
}

TEST(HtmlReportTest, ShowsWhyAnswersHaveNoReward) {
  v1::JobStatus status = SmallJob();
  EXPECT_THAT(HtmlReport(status, Summarise(status)), Not(HasSubstr("<h2>Rewards</h2>")));
  v1::RewardCounts& rewards = *status.mutable_rewards();
  rewards.set_prompts(12);
  EXPECT_THAT(HtmlReport(status, Summarise(status)), HasSubstr(" 0 answers put aside"));
  rewards.set_failed_answers(10);
  for (const auto& [reason, answers] : {std::pair("timed out after 5 s", 7), {"<nan>", 3}}) {
    rewards.add_failures()->set_reason(reason);
    rewards.mutable_failures()->rbegin()->set_answers(answers);
  }
  const std::string page = HtmlReport(status, Summarise(status));
  EXPECT_THAT(page, HasSubstr(" 10 answers put aside"));
  EXPECT_THAT(page, HasSubstr("<td>7</td><td><code>timed out after 5 s</code>"));
  EXPECT_THAT(page, HasSubstr("<td>3</td><td><code>&lt;nan&gt;</code>"));
}

}  // namespace
}  // namespace dtrpo::tools

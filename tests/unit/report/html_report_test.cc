#include "tools/report/html_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace dtrpo::tools

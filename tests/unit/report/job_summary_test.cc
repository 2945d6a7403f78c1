#include "tools/report/job_summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"
#include "tests/unit/report/job_status.h"

namespace dtrpo::tools {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(JobSummaryTest, ComparesTheFirstAndTheLastCompleteEvaluation) {
  const JobSummary summary = Summarise(SmallJob());
  EXPECT_EQ(summary.heldout_before, 0.5);
  EXPECT_EQ(summary.heldout_after, 0.75);
  EXPECT_EQ(summary.heldout_prompts, 4);
}

TEST(JobSummaryTest, OneEvaluationIsNoComparison) {
  v1::JobStatus status = SmallJob();
  status.mutable_evaluations()->DeleteSubrange(1, 2);
  const JobSummary summary = Summarise(status);
  EXPECT_FALSE(summary.heldout_before.has_value());
  EXPECT_THAT(SummaryLine(summary),
              HasSubstr("heldout_accuracy_before=none heldout_accuracy_after=none"));
  EXPECT_TRUE(nlohmann::json::parse(SummaryJson(summary))["heldout_accuracy_after"].is_null());
}

TEST(JobSummaryTest, HeldOutPairsAreComparedBeforeAndAfter) {
  v1::JobStatus status = SmallJob();
  EXPECT_EQ(SummaryText(Summarise(status)).find("Held-out pairs"), std::string::npos);
  for (const int64_t step : {0, 2, 3}) {
    v1::PairEvaluation& evaluation = *status.add_pair_evaluations();
    evaluation.set_step(step);
    evaluation.set_pairs(8);
    evaluation.set_accuracy(0.25 * static_cast<double>(step));
    evaluation.set_margin(0.1 * static_cast<double>(step));
  }
  const JobSummary summary = Summarise(status);
  EXPECT_THAT(SummaryText(summary),
              HasSubstr("Held-out pairs: 0.0000 before, 0.7500 after with a positive margin, mean "
                        "0.3000 (8 pairs)\n"));
  const auto json = nlohmann::json::parse(SummaryJson(summary));
  EXPECT_EQ(json["heldout_pairs_accuracy_before"], 0.0);
  EXPECT_EQ(json["heldout_pairs_accuracy_after"], 0.75);
  EXPECT_EQ(json["heldout_pairs"], 8);
}

TEST(JobSummaryTest, TheLineIsTheOneThatScriptsRead) {
  EXPECT_EQ(SummaryLine(Summarise(SmallJob())),
            "heldout_accuracy_before=0.5000 heldout_accuracy_after=0.7500 steps=3 seconds=2.5 "
            "checkpoint=/out/checkpoints/step-3");
}

TEST(JobSummaryTest, JsonHasTheNumbersOfTheLine) {
  const auto json = nlohmann::json::parse(SummaryJson(Summarise(SmallJob())));
  EXPECT_EQ(json["heldout_accuracy_before"], 0.5);
  EXPECT_EQ(json["heldout_accuracy_after"], 0.75);
  EXPECT_EQ(json["steps"], 3);
  EXPECT_EQ(json["seconds"], 2.5);
  EXPECT_EQ(json["checkpoint"], "/out/checkpoints/step-3");
  EXPECT_EQ(json["samples"][0]["after"]["denoising"], (std::vector<std::string>{"░░", "3░", "3"}));
}

TEST(JobSummaryTest, ShowsAPromptOnOneLineAndEachChangeOnce) {
  const JobSummary summary = Summarise(SmallJob());
  ASSERT_EQ(summary.shown.size(), 1u);
  EXPECT_EQ(summary.shown[0].prompt, "user 1+2= assistant");
  EXPECT_THAT(summary.shown[0].after.frames, ElementsAre("░░", "3░", "3"));
  EXPECT_FALSE(summary.shown[0].before.correct);
  EXPECT_THAT(SummaryText(summary), HasSubstr("after   right  ░░  >  3░  >  3"));
}

TEST(JobSummaryTest, ReadsWhatTheJobClientPrints) {
  std::string json;
  ASSERT_TRUE(google::protobuf::util::MessageToJsonString(SmallJob(), &json).ok());
  const auto status = ParseJobStatus(json, "job.json");
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(status->step(), 3);
}

TEST(JobSummaryTest, RefusesWhatIsntAJobsStatus) {
  EXPECT_THAT(ParseJobStatus("{", "job.json").status().message(), HasSubstr("job.json"));
  EXPECT_THAT(ParseJobStatus("{}", "job.json").status().message(), HasSubstr("'job_id'"));
}

}  // namespace
}  // namespace dtrpo::tools

// Talking to the policy while it is being trained, as a user does: through dtrpoctl.
#include <gmock/gmock.h>

#include <vector>

#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"
#include "tests/integration/loop_test.h"
#include "tools/dtrpoctl/exit_codes.h"

namespace dtrpo {
namespace {

using ::testing::HasSubstr;

class GenerateTest : public LoopTest {
 protected:
  support::ProgramResult Generate(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(),
                     {"dtrpoctl", "--address", cluster_->coordinator(), "generate"});
    return Run(std::move(arguments), absl::Seconds(60));
  }

  // The messages of an answer; empty, and a failed expectation, unless there is one.
  std::vector<nlohmann::json> Messages(std::vector<std::string> arguments) const {
    arguments.push_back("--json");
    const support::ProgramResult told = Generate(std::move(arguments));
    EXPECT_EQ(told.exit_code, ctl::kOk) << told.output;
    std::vector<nlohmann::json> messages;
    for (const auto line : absl::StrSplit(told.output, '\n', absl::SkipEmpty())) {
      auto message = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
      EXPECT_TRUE(message.is_object()) << line;
      messages.push_back(std::move(message));
    }
    return messages;
  }

  static int64_t VersionOf(const std::vector<nlohmann::json>& messages) {
    return std::stoll(messages.at(0)["header"]["version"].get<std::string>());
  }
  static std::string TextOf(const std::vector<nlohmann::json>& messages) {
    std::string text;
    for (const auto& message : messages) {
      if (message.contains("block")) text += message["block"]["text"].get<std::string>();
    }
    return text;
  }
};

TEST_F(GenerateTest, ThePolicyThatIsBeingTrainedAnswersWithNewerAndNewerWeights) {
  ASSERT_NO_FATAL_FAILURE(MakeTask());
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  support::ProgramResult told = Generate({"--prompt", "aa"});
  EXPECT_EQ(told.exit_code, ctl::kFailed);
  EXPECT_THAT(told.output, HasSubstr("no rollout works on a job"));

  const auto id = cluster_->Submit(task_.Job("talk", /*steps=*/400));
  ASSERT_TRUE(id.ok()) << id.status();
  auto job =
      cluster_->Await(*id, "a version", [](const v1::JobStatus& j) { return j.version() >= 2; });
  ASSERT_TRUE(job.ok()) << job.status();

  const auto first = Messages({"--job", *id, "--prompt", "aa"});
  ASSERT_GE(first.size(), 3u);
  EXPECT_EQ(first[0]["header"]["job_id"], *id);
  EXPECT_TRUE(first.back().contains("summary")) << first.back();

  job = cluster_->Await(*id, "much newer weights", [&](const v1::JobStatus& j) {
    return j.version() >= VersionOf(first) + 10;
  });
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::RUNNING);
  const auto second = Messages({"--prompt", "aa"});
  EXPECT_GT(VersionOf(second), VersionOf(first));

  // What the text on a terminal is made of, and the line about it.
  told = Generate({"--prompt", "aa"});
  EXPECT_EQ(told.exit_code, ctl::kOk) << told.output;
  EXPECT_THAT(told.output, HasSubstr("\ndtrpoctl: job talk-1, version "));
  told = Generate({"--prompt", "aa", "--version", "100000"});
  EXPECT_EQ(told.exit_code, ctl::kFailed);
  EXPECT_THAT(told.output, HasSubstr("version 100000 of job talk-1 isn't held; held are: "));
  told = Generate({"--prompt", "aa", "--temperature", "-1"});
  EXPECT_EQ(told.exit_code, ctl::kFailed);
  EXPECT_THAT(told.output, HasSubstr("temperature -1"));
  told = Generate({"--prompt", "aa", "--tokens", "1"});
  EXPECT_EQ(told.exit_code, ctl::kUsage) << told.output;

  // A rollout of one's choice, and its own count of what it answered.
  const auto rollout = cluster_->Member("rollout-0");
  EXPECT_THAT(TextOf(Messages({"--rollout", rollout.address, "--prompt", "aa"})),
              testing::Not(testing::IsEmpty()));
  const auto answered = cluster_->Metric("rollout-0", "dtrpo_rollout_generate_tokens_total");
  ASSERT_TRUE(answered.ok()) << answered.status();
  EXPECT_GT(*answered, 0);

  // Training went on meanwhile, as if nobody had asked, and the policy has learnt its answer.
  job = cluster_->Await(*id, "what 60 steps teach",
                        [](const v1::JobStatus& j) { return j.step() >= 60; });
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(TextOf(Messages({"--prompt", "aa"})), "blue");
}

}  // namespace
}  // namespace dtrpo

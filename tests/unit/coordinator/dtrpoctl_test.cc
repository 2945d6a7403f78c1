// What a script sees of dtrpoctl: output, errors and exit codes, against a coordinator over a real
// connection.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "nlohmann/json.hpp"
#include "tests/unit/coordinator/live_coordinator.h"
#include "tools/dtrpoctl/commands.h"
#include "tools/dtrpoctl/display.h"
#include "tools/dtrpoctl/exit_codes.h"

namespace dtrpo::ctl {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr char kJob[] =
    "name: add\n"
    "model: {path: /model}\n"
    "data: {prompts: p.jsonl}\n"
    "training: {steps: 3}\n"
    "output: out\n";

class DtrpoctlTest : public testing::Test {
 protected:
  DtrpoctlTest() { Write("/job.yaml", kJob); }

  void Write(const std::string& path, const std::string& content) {
    auto file = files_.Create(path);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE((*file)->Append(content).ok());
  }

  Session MakeSession(bool json = false) {
    return {.client = &live_.jobs(),
            .address = "127.0.0.1:1",
            .out = &out_,
            .err = &err_,
            .json = json,
            .files = &files_};
  }
  SubmitOptions JobFile() {
    return {.file = "/job.yaml", .directory = "/", .idempotency_key = "key"};
  }

  coordinator::LiveCoordinator live_;
  base::MemoryFileSystem files_;
  std::ostringstream out_, err_;
};

TEST_F(DtrpoctlTest, SubmitPrintsTheJobsId) {
  EXPECT_EQ(Submit(MakeSession(), JobFile()), kOk) << err_.str();
  EXPECT_EQ(out_.str(), "add-1\n");
}

TEST_F(DtrpoctlTest, SubmitAsJsonIsAnObjectWithTheId) {
  EXPECT_EQ(Submit(MakeSession(/*json=*/true), JobFile()), kOk);
  EXPECT_EQ(nlohmann::json::parse(out_.str())["job_id"], "add-1");
}

TEST_F(DtrpoctlTest, ADryRunShowsEveryDefaultAndSubmitsNothing) {
  SubmitOptions options = JobFile();
  options.dry_run = true;
  for (const char* name : {"config.json", "added_tokens.json", "tokenizer_config.json",
                           "tokenizer.json", "model.safetensors"}) {
    const auto content = base::PosixFileSystem()->Read(
        absl::StrCat(DTRPO_SOURCE_DIR "/examples/arithmetic/base/", name));
    ASSERT_TRUE(content.ok()) << content.status();
    live_.Write(absl::StrCat("/model/", name), *content);
  }
  EXPECT_EQ(Submit(MakeSession(), options), kOk) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("samples_per_prompt: 8"));
  EXPECT_THAT(out_.str(), HasSubstr("# memory of a learner rank"));
  EXPECT_THAT(out_.str(), HasSubstr("# pushed a version, to each rollout"));
  EXPECT_THAT(out_.str(), HasSubstr("prompts: \"/p.jsonl\""));  // made absolute
  EXPECT_EQ(live_.jobs().List(absl::Now() + absl::Seconds(5))->jobs_size(), 0);
}

TEST_F(DtrpoctlTest, ADryRunChecksWhatTheCoordinatorSees) {
  SubmitOptions options = JobFile();
  options.dry_run = true;
  Write("/job.yaml", absl::StrReplaceAll(kJob, {{"p.jsonl", "nowhere.jsonl"}}));
  EXPECT_EQ(Submit(MakeSession(), options), kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("data.prompts"));
}

TEST_F(DtrpoctlTest, ADryRunWithoutACoordinatorChecksTheFileAlone) {
  SubmitOptions options = JobFile();
  options.dry_run = true;
  live_.Shutdown();
  Session session = MakeSession();
  session.timeout = absl::Seconds(1);
  EXPECT_EQ(Submit(session, options), kOk);
  EXPECT_THAT(out_.str(), HasSubstr("samples_per_prompt: 8"));
  EXPECT_THAT(err_.str(), HasSubstr("weren't looked at"));
}

TEST_F(DtrpoctlTest, ABadJobFileIsRefusedWithFileLineAndField) {
  Write("/job.yaml", std::string(kJob) + "objective: {betta: 1}\n");
  EXPECT_EQ(Submit(MakeSession(), JobFile()), kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("/job.yaml:6: objective.betta: unknown field"));
}

TEST_F(DtrpoctlTest, AValueOutOfRangeIsRefusedWithItsLine) {
  Write("/job.yaml", std::string(kJob) + "objective:\n  beta: -1\n");
  EXPECT_EQ(Submit(MakeSession(), JobFile()), kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("/job.yaml:7: objective.beta: -1"));
}

TEST_F(DtrpoctlTest, GetAndListShowTheJob) {
  ASSERT_EQ(Submit(MakeSession(), JobFile()), kOk);
  EXPECT_EQ(Get(MakeSession(), "add-1", false), kOk);
  EXPECT_THAT(out_.str(), HasSubstr("PENDING"));
  out_.str("");
  EXPECT_EQ(List(MakeSession(/*json=*/true)), kOk);
  const auto jobs = nlohmann::json::parse(out_.str());
  EXPECT_EQ(jobs["jobs"][0]["job_id"], "add-1");
  EXPECT_EQ(jobs["jobs"][0]["step"], "0") << "zeros are printed";
}

TEST_F(DtrpoctlTest, AnUnknownJobFails) {
  EXPECT_EQ(Get(MakeSession(), "add-9", false), kFailed);
  EXPECT_EQ(err_.str(), "dtrpoctl: there is no job \"add-9\"\n");
}

TEST_F(DtrpoctlTest, AWatchedJobThatIsCancelledExitsWithItsOwnCode) {
  ASSERT_EQ(Submit(MakeSession(), JobFile()), kOk);
  ASSERT_EQ(Cancel(MakeSession(), "add-1", "enough"), kOk);
  out_.str("");
  EXPECT_EQ(Watch(MakeSession(), "add-1"), kJobCancelled);
  EXPECT_THAT(out_.str(), StartsWith("add-1  CANCELLED  step 0/3"));
  EXPECT_THAT(out_.str(), HasSubstr("(enough)"));
}

TEST_F(DtrpoctlTest, PausingAPendingJobFailsWithTheReason) {
  ASSERT_EQ(Submit(MakeSession(), JobFile()), kOk);
  EXPECT_EQ(Pause(MakeSession(), "add-1"), kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("PENDING"));
}

TEST_F(DtrpoctlTest, AnUnreachableCoordinatorHasItsOwnCode) {
  const std::string address = live_.address();
  live_.Shutdown();
  rpc::ChannelFactory channels(rpc::ChannelOptions{});
  wire::ClientOptions options;
  options.retry.max_attempts = 2;
  const auto client = wire::MakeJobClient(*channels.Create(address), options);
  Session session = MakeSession();
  session.client = client.get();
  EXPECT_EQ(List(session), kUnreachable);
  EXPECT_THAT(err_.str(), HasSubstr("no answer from the coordinator at 127.0.0.1:1"));
}

TEST(ProgressLineTest, ShowsStepRewardAccuracySpeedVersionAndTimeLeft) {
  v1::JobStatus status;
  status.set_job_id("add-1");
  status.set_state(v1::RUNNING);
  status.set_step(12);
  status.set_total_steps(120);
  status.set_reward_mean(0.534);
  status.set_rollout_tokens_per_second(1234);
  status.set_version(12);
  status.set_seconds_left(80);
  v1::EvaluationRecord* before = status.add_evaluations();
  before->set_correct(251);
  before->set_total(500);
  before->set_complete(true);
  EXPECT_EQ(ProgressLine(status),
            "add-1  RUNNING  step 12/120  reward 0.534  held-out 0.502  1234 tokens/s  version 12  "
            "1m20s left");
  v1::EvaluationRecord* after = status.add_evaluations();
  after->set_version(10);
  after->set_total(100);
  after->set_prompts(500);
  EXPECT_THAT(ProgressLine(status), HasSubstr("held-out 0.502 (evaluating version 10: 100/500)"));
  after->set_correct(80);
  after->set_complete(true);
  EXPECT_THAT(ProgressLine(status), HasSubstr("held-out 0.502 -> 0.800  "));
  v1::EvaluationRecord* third = status.add_evaluations();
  third->set_total(100);
  third->set_complete(true);
  EXPECT_THAT(ProgressLine(status), HasSubstr("held-out 0.502 -> 0.000 [▅▇▁]  "));
  for (int i = 0; i < 100; ++i) *status.add_evaluations() = *after;
  EXPECT_THAT(ProgressLine(status), HasSubstr("-> 0.800 [▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇]  "));
}

}  // namespace
}  // namespace dtrpo::ctl

// A user's reward in Python judges a job's answers, over real processes.
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "tests/integration/loop_test.h"

namespace dtrpo {
namespace {

// What a user writes (docs/rewards.md), with a bug that shows now and then. It never gives less
// than 1, so whatever counts as 0 is nobody's reward.
constexpr char kReward[] = R"(
import random
from dtrpo_rewards import Item, Judgement, reward

@reward("sum", timeout=30, judge_unfinished=True)
def right_sum(item: Item) -> Judgement:
    if random.random() < 0.15:
        raise RuntimeError("a bug")
    right = item.answer == item.expected
    return Judgement(2.0 if right else 1.0, right, "the sum" if right else "something else")
)";

// The example's model and task (examples/arithmetic), in as many steps as show that it learns.
constexpr int kSamples = 8;
constexpr char kJob[] = R"(
name: sum
model: { path: $SOURCE/examples/arithmetic/base }
data: { prompts: $DIR/data/train.jsonl, heldout: $DIR/data/heldout.jsonl }
sampling: { unmask: "steps:2", max_new_tokens: 4, samples_per_prompt: 8 }
reward:
  verifier: "service:sum"
  service: { address: "$ADDRESS", attempts: 3 }
objective: { draws: 2, sft_weight: 0.1 }
training: { steps: 50, pairs_per_batch: 32, learning_rate: 4.0e-4, warmup_steps: 5, max_staleness: 2 }
evaluation: { every_versions: 50, max_prompts: 200 }
output: $DIR/output
)";

class RewardServiceTest : public LoopTest {
 protected:
  ~RewardServiceTest() override {
    if (service_ > 0) KillService();
  }

  // The package, as pip installs it.
  void InstallPackage() {
    const auto installed = support::RunProgram(
        {DTRPO_VENV_PYTHON,
         absl::StrCat(DTRPO_SOURCE_DIR, "/tests/support/install_python_package.py"),
         DTRPO_SOURCE_DIR, "dtrpo_rewards", package()},
        folder_ + "/pip.log", absl::Minutes(3));
    ASSERT_TRUE(installed.ok()) << installed.status();
    ASSERT_EQ(installed->exit_code, 0) << installed->output;
    std::ofstream(folder_ + "/sum_reward.py") << kReward;
  }
  std::string package() const { return folder_ + "/python"; }

  // `python -m dtrpo_rewards` on the address of before, if there was one.
  void StartService() {
    const std::string port_file = folder_ + "/reward_port";
    unlink(port_file.c_str());
    const std::string listen = address_.empty() ? "127.0.0.1:0" : address_;
    service_ = fork();
    ASSERT_GE(service_, 0);
    if (service_ == 0) {
      setenv("PYTHONPATH", package().c_str(), 1);
      if (chdir(folder_.c_str()) != 0) _exit(126);
      execl(DTRPO_VENV_PYTHON, DTRPO_VENV_PYTHON, "-m", "dtrpo_rewards", "sum_reward", "--workers",
            "2", "--listen", listen.c_str(), "--port-file", port_file.c_str(), nullptr);
      _exit(127);
    }
    const absl::Time deadline = absl::Now() + absl::Minutes(2);
    while (access(port_file.c_str(), R_OK) != 0) {
      ASSERT_LT(absl::Now(), deadline);
      ASSERT_EQ(waitpid(service_, nullptr, WNOHANG), 0) << "the reward service ended";
      absl::SleepFor(absl::Milliseconds(50));
    }
    const auto written = base::PosixFileSystem()->Read(port_file);
    ASSERT_TRUE(written.ok()) << written.status();
    address_ = std::string(absl::StripAsciiWhitespace(*written));
  }

  void KillService() {
    kill(service_, SIGKILL);
    waitpid(service_, nullptr, 0);
    service_ = -1;
  }

  double FailedCalls() const {
    return cluster_->Metric("rollout-0", "dtrpo_rollout_reward_failed_calls_total").value_or(0);
  }

  pid_t service_ = -1;
  std::string address_;
};

TEST_F(RewardServiceTest, AUsersRewardTrainsTheArithmeticModelThoughItsProcessDiesInTheMiddle) {
  ASSERT_NO_FATAL_FAILURE(InstallPackage());
  ASSERT_NO_FATAL_FAILURE(StartService());
  ASSERT_EQ(Run({"dtrpo", "make-arithmetic", "--output", folder_ + "/data"}).exit_code, 0);
  const std::string job_file = folder_ + "/job.yaml";
  std::ofstream(job_file) << absl::StrReplaceAll(
      kJob, {{"$SOURCE", DTRPO_SOURCE_DIR}, {"$DIR", folder_}, {"$ADDRESS", address_}});
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  const support::ProgramResult submitted =
      Run({"dtrpoctl", "--address", cluster_->coordinator(), "submit", job_file});
  ASSERT_EQ(submitted.exit_code, 0) << submitted.output;
  const std::string id(absl::StripAsciiWhitespace(submitted.output));
  const auto under_way = cluster_->Await(
      id, "a step", [](const v1::JobStatus& job) { return job.step() >= 5; }, absl::Minutes(2));
  ASSERT_TRUE(under_way.ok()) << under_way.status();

  KillService();
  // Somebody has noticed before it comes back.
  const double failed_calls = FailedCalls();
  ASSERT_TRUE(cluster_->TendUntil([&] { return FailedCalls() > failed_calls; }, absl::Minutes(1)));
  ASSERT_NO_FATAL_FAILURE(StartService());

  const auto job = cluster_->AwaitEnd(id, absl::Minutes(4));
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
  ExpectExactSums(*job);
  const v1::RewardCounts& rewards = job->rewards();

  // Each sample is judged, or put aside with its reason: of 8000 or more, one in 300.
  EXPECT_EQ(job->rollout_samples() + rewards.failed_answers(), kSamples * rewards.prompts());
  EXPECT_GT(rewards.prompts(), 0);
  EXPECT_GT(rewards.failed_answers(), 0);
  int64_t with_reason = 0;
  for (const v1::RewardFailure& failure : rewards.failures()) {
    EXPECT_THAT(failure.reason(), testing::HasSubstr("RuntimeError: a bug"));
    with_reason += failure.answers();
  }
  EXPECT_EQ(with_reason, rewards.failed_answers());
  EXPECT_THAT(Run({"dtrpoctl", "--address", cluster_->coordinator(), "get", id}).output,
              testing::ContainsRegex("failed rewards: +[0-9]+ answers"));

  // No zero by accident.
  EXPECT_GE(job->reward_mean(), 1);
  for (const v1::StepRecord& step : job->steps()) {
    const auto mean = step.values().find("reward_mean");  // none before the first report
    EXPECT_TRUE(mean == step.values().end() || mean->second >= 1) << "step " << step.step();
  }

  // It learnt what the reward rewards: from 76 of 200 to about 92.
  ASSERT_GE(job->evaluations_size(), 2);
  const v1::EvaluationRecord& before = job->evaluations(0);
  const v1::EvaluationRecord& after = job->evaluations(job->evaluations_size() - 1);
  EXPECT_EQ(before.total() + before.failed(), 200);
  EXPECT_EQ(after.total() + after.failed(), 200);
  EXPECT_GE(after.correct(), before.correct());
}

}  // namespace
}  // namespace dtrpo

// A user's reward in Python judges a job's answers, over real processes.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/time/clock.h"
#include "tests/integration/loop_test.h"

namespace dtrpo {
namespace {

// What a user writes (docs/rewards.md), and that it judged at all. It is slow enough that the
// service dies in the middle of something, and never gives 0.
constexpr char kReward[] = R"(
import time
from dtrpo_rewards import Item, Judgement, reward

@reward("blue", timeout=30)
def blue(item: Item) -> Judgement:
    time.sleep(0.002)
    right = item.answer == item.expected
    return Judgement(2.0 if right else 1.0, right, "blue as asked" if right else "something else")
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
    std::ofstream(folder_ + "/blue_reward.py") << kReward;
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
      execl(DTRPO_VENV_PYTHON, DTRPO_VENV_PYTHON, "-m", "dtrpo_rewards", "blue_reward", "--workers",
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

  pid_t service_ = -1;
  std::string address_;
};

TEST_F(RewardServiceTest, AUsersRewardTrainsAJobThoughItsProcessDiesInTheMiddle) {
  ASSERT_NO_FATAL_FAILURE(InstallPackage());
  ASSERT_NO_FATAL_FAILURE(StartService());
  ASSERT_NO_FATAL_FAILURE(MakeTask());
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  v1::JobSpec spec = task_.Job("blue", /*steps=*/40, /*learning_rate=*/3e-4);
  spec.mutable_reward()->set_verifier("service:blue");
  spec.mutable_reward()->mutable_service()->set_address(address_);
  const auto id = cluster_->Submit(spec);
  ASSERT_TRUE(id.ok()) << id.status();
  const auto under_way =
      cluster_->Await(*id, "a step", [](const v1::JobStatus& job) { return job.step() >= 8; });
  ASSERT_TRUE(under_way.ok()) << under_way.status();

  KillService();
  // Somebody has noticed before it comes back.
  ASSERT_TRUE(cluster_->TendUntil([&] {
    return cluster_->Metric("rollout-0", "dtrpo_rollout_reward_failed_calls_total").value_or(0) > 0;
  }));
  ASSERT_NO_FATAL_FAILURE(StartService());

  const auto job = cluster_->AwaitEnd(*id);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
  ExpectExactSums(*job);
  const v1::RewardCounts& rewards = job->rewards();
  EXPECT_EQ(rewards.failed_answers(), 0) << rewards.last_failure();
  EXPECT_EQ(job->prompts().failed(), 0);
  EXPECT_GT(rewards.prompts(), 0);
  // The reward never gives less than 1, so a mean below it is made of zeros that nobody gave.
  EXPECT_GE(job->reward_mean(), 1);
  for (const v1::StepRecord& step : job->steps()) {
    const auto mean = step.values().find("reward_mean");  // none before the first report
    EXPECT_TRUE(mean == step.values().end() || mean->second >= 1) << "step " << step.step();
  }
  ASSERT_GE(job->evaluations_size(), 2);
  const v1::EvaluationRecord& before = job->evaluations(0);
  const v1::EvaluationRecord& after = job->evaluations(job->evaluations_size() - 1);
  EXPECT_GT(after.correct(), before.correct()) << "it learnt what the user's reward rewards";
  EXPECT_EQ(after.failed(), 0);

  const support::ProgramResult shown =
      Run({"dtrpoctl", "--address", cluster_->coordinator(), "get", *id});
  EXPECT_EQ(shown.exit_code, 0) << shown.output;
  EXPECT_NE(shown.output.find("failed rewards:"), std::string::npos) << shown.output;
}

}  // namespace
}  // namespace dtrpo

// Pausing, resuming, cancelling and queueing, as scripts do it: through dtrpoctl and its exit
// codes.
#include <gmock/gmock.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/base/atomic_file.h"
#include "common/runtime/config_loader.h"
#include "nlohmann/json.hpp"
#include "tests/integration/loop_test.h"
#include "tools/dtrpoctl/exit_codes.h"

namespace dtrpo {
namespace {

using ::testing::HasSubstr;

class JobControlTest : public LoopTest {
 protected:
  support::ProgramResult Ctl(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"dtrpoctl", "--address", cluster_->coordinator()});
    return Run(std::move(arguments), absl::Seconds(60));
  }

  // Submits through a YAML file; returns the job's id.
  std::string Submit(const v1::JobSpec& spec) const {
    const std::string file = absl::StrCat(folder_, "/", spec.name(), ".yaml");
    EXPECT_TRUE(
        base::WriteFileAtomically(base::PosixFileSystem(), file, runtime::PrintConfig(spec)).ok());
    const support::ProgramResult submitted = Ctl({"submit", file});
    EXPECT_EQ(submitted.exit_code, ctl::kOk) << submitted.output;
    return std::string(absl::StripAsciiWhitespace(submitted.output));
  }

  // A field of `dtrpoctl get --json`.
  std::string StateOf(const std::string& id) const {
    const support::ProgramResult shown = Ctl({"get", id, "--json"});
    const auto json = nlohmann::json::parse(shown.output, nullptr, /*allow_exceptions=*/false);
    return json.is_object() ? json.value("state", "no state") : shown.output;
  }
};

TEST_F(JobControlTest, JobsArePausedResumedCancelledAndQueued) {
  ASSERT_NO_FATAL_FAILURE(MakeTask());
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  const std::string first = Submit(task_.Job("first", /*steps=*/5000, /*learning_rate=*/1e-6));
  const std::string second = Submit(task_.Job("second", /*steps=*/10));
  EXPECT_EQ(first, "first-1");
  EXPECT_EQ(second, "second-2");
  auto job = cluster_->Await(first, "steps", [](const v1::JobStatus& j) { return j.step() >= 5; });
  ASSERT_TRUE(job.ok()) << job.status();

  // The second waits its turn, and says so.
  job = cluster_->Get(second);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::PENDING);
  EXPECT_THAT(job->reason(), HasSubstr(first));

  // Paused: the learner checkpoints where it stands and holds still.
  support::ProgramResult told = Ctl({"pause", first});
  EXPECT_EQ(told.exit_code, ctl::kOk) << told.output;
  EXPECT_EQ(StateOf(first), "PAUSED");
  EXPECT_EQ(StateOf(second), "PENDING");
  job = cluster_->Await(first, "the checkpoint of the pause", [](const v1::JobStatus& j) {
    return absl::EndsWith(j.checkpoint(), absl::StrFormat("step-%08d", j.step()));
  });
  ASSERT_TRUE(job.ok()) << job.status();
  const int64_t held_at = job->step();
  absl::SleepFor(absl::Seconds(1));
  job = cluster_->Get(first);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->step(), held_at);
  EXPECT_EQ(Ctl({"pause", first}).exit_code, ctl::kOk);  // again: nothing changes

  told = Ctl({"resume", first});
  EXPECT_EQ(told.exit_code, ctl::kOk) << told.output;
  EXPECT_EQ(StateOf(first), "RUNNING");
  job = cluster_->Await(first, "steps after the pause",
                        [&](const v1::JobStatus& j) { return j.step() >= held_at + 5; });
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->attempt(), 1);

  // Cancelled: final, its checkpoints stay, and the second gets its turn.
  told = Ctl({"cancel", first, "--reason", "enough"});
  EXPECT_EQ(told.exit_code, ctl::kOk) << told.output;
  told = Ctl({"watch", first});
  EXPECT_EQ(told.exit_code, ctl::kJobCancelled) << told.output;
  EXPECT_THAT(told.output, HasSubstr("enough"));
  EXPECT_EQ(Ctl({"cancel", first}).exit_code, ctl::kOk);
  told = Ctl({"pause", first});
  EXPECT_EQ(told.exit_code, ctl::kFailed);
  EXPECT_THAT(told.output, HasSubstr(first));
  job = cluster_->Get(first);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_TRUE(base::PosixFileSystem()->Exists(job->checkpoint() + "/model.safetensors"));
  const v1::PromptCounts& prompts = job->prompts();
  EXPECT_EQ(prompts.leased() + prompts.stored() + prompts.waiting(), 0);
  EXPECT_EQ(prompts.consumed() + prompts.no_pair() + prompts.failed() + prompts.cancelled(),
            prompts.issued());

  told = Ctl({"watch", second});
  EXPECT_EQ(told.exit_code, ctl::kOk) << told.output;
  EXPECT_EQ(StateOf(second), "SUCCEEDED");
  told = Ctl({"list"});
  EXPECT_EQ(told.exit_code, ctl::kOk);
  EXPECT_THAT(told.output, HasSubstr("CANCELLED"));
  EXPECT_THAT(told.output, HasSubstr("SUCCEEDED"));
  EXPECT_EQ(Ctl({"workers"}).exit_code, ctl::kOk);

  EXPECT_EQ(Ctl({"get", "nobody-7"}).exit_code, ctl::kFailed);
  EXPECT_EQ(Ctl({"get"}).exit_code, ctl::kUsage);
}

TEST_F(LoopTest, AbsentCoordinatorIsSaidInOneLine) {
  // Port 1 of loopback: nobody listens there.
  const support::ProgramResult told =
      Run({"dtrpoctl", "--address", "127.0.0.1:1", "--timeout", "1", "list"});
  EXPECT_EQ(told.exit_code, ctl::kUnreachable);
  EXPECT_THAT(told.output, HasSubstr("127.0.0.1:1"));
  EXPECT_EQ(std::count(told.output.begin(), told.output.end(), '\n'), 1) << told.output;
}

}  // namespace
}  // namespace dtrpo

// SIGTERM in the middle of a job: nothing that was done is done again.
#include <signal.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "tests/integration/loop_test.h"

namespace dtrpo {
namespace {

TEST_F(LoopTest, StoppedWorkersHandTheirWorkOver) {
  ASSERT_NO_FATAL_FAILURE(MakeTask());
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  v1::JobSpec spec = task_.Job("blue", /*steps=*/80, /*learning_rate=*/1e-4);
  spec.mutable_training()->set_checkpoint_every(30);
  const auto id = cluster_->Submit(spec);
  ASSERT_TRUE(id.ok()) << id.status();
  int64_t stopped_at = 0;
  for (const std::string name : {"learner", "rollout-0"}) {
    const auto under_way = cluster_->Await(*id, "some steps more", [&](const v1::JobStatus& job) {
      return job.state() == v1::RUNNING && job.step() >= stopped_at + 12;
    });
    ASSERT_TRUE(under_way.ok()) << under_way.status();
    if (stopped_at == 0) stopped_at = under_way->step();
    cluster_->Signal(name, SIGTERM);
    ASSERT_TRUE(cluster_->TendUntil([&] { return cluster_->Member(name).restarts == 1; }));
    const auto& events = cluster_->events();
    EXPECT_TRUE(std::any_of(events.begin(), events.end(), [&](const std::string& event) {
      return absl::StartsWith(event, name) && absl::StrContains(event, "exited with 0");
    })) << name;
  }
  const auto job = cluster_->AwaitEnd(*id);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
  EXPECT_EQ(job->attempt(), 2);
  ExpectExactSums(*job);

  // The second learner began where the first one stopped, not at the last planned checkpoint.
  const auto log = base::PosixFileSystem()->Read(folder_ + "/run/logs/learner.log");
  ASSERT_TRUE(log.ok()) << log.status();
  int64_t resumed = -1;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(*log, '\n'))) {
    if (!absl::StrContains(line, "model loaded")) continue;
    const std::vector<std::string> parts = absl::StrSplit(line, absl::ByAnyChar(" ="));
    const auto key = std::find(parts.begin(), parts.end(), "step");
    ASSERT_TRUE(key != parts.end() && absl::SimpleAtoi(*(key + 1), &resumed)) << line;
  }
  EXPECT_GE(resumed, stopped_at);
}

}  // namespace
}  // namespace dtrpo

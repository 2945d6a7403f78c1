// Rollouts come and go while a job runs.
#include <signal.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "common/base/atomic_file.h"
#include "tests/integration/loop_test.h"
#include "tests/support/http_get.h"
#include "tools/local_cluster/child_process.h"

namespace dtrpo {
namespace {

TEST_F(LoopTest, RolloutsJoinAndLeaveWhileAJobRunsAndLoseNoStoredPair) {
  ASSERT_NO_FATAL_FAILURE(MakeTask());
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  const auto id = cluster_->Submit(task_.Job("blue", /*steps=*/80, /*learning_rate=*/1e-4));
  ASSERT_TRUE(id.ok()) << id.status();
  const auto at_step = [&](int64_t step) {
    const auto status =
        cluster_->Await(*id, absl::StrCat("step ", step),
                        [step](const v1::JobStatus& job) { return job.step() >= step; });
    EXPECT_TRUE(status.ok()) << status.status();
    return status.ok();
  };
  ASSERT_TRUE(at_step(5));

  // One that the cluster didn't begin with.
  const std::string config = folder_ + "/joiner.yaml", ports = folder_ + "/joiner.json";
  ASSERT_TRUE(base::WriteFileAtomically(base::PosixFileSystem(), config,
                                        absl::StrCat("coordinator: \"", cluster_->coordinator(),
                                                     "\"\nserver: {port_file: \"", ports, "\"}\n"))
                  .ok());
  auto joiner =
      tools::ChildProcess::Start({.arguments = {absl::StrCat(DTRPO_BIN_DIR, "/dtrpo-rollout"),
                                                "--config", config, "--name", "joiner"},
                                  .environment = {"OMP_NUM_THREADS=1"},
                                  .log_path = folder_ + "/joiner.log"});
  ASSERT_TRUE(joiner.ok()) << joiner.status();
  const auto joiner_stored = [&]() -> double {
    std::ifstream file(ports);
    const auto json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) return 0;
    const auto body = support::HttpGet(json.value("metrics", ""), "/metrics");
    if (!body.ok()) return 0;
    return support::MetricValue(*body, "dtrpo_rollout_pairs_total").value_or(0);
  };
  ASSERT_TRUE(cluster_->TendUntil([&] { return joiner_stored() > 0; }, absl::Seconds(60)))
      << "the rollout that joined has stored nothing";

  // The first one is rolled: drained, gone, and there again.
  cluster_->Signal("rollout-0", SIGTERM);
  ASSERT_TRUE(cluster_->TendUntil([&] { return cluster_->Member("rollout-0").restarts == 1; }));
  const auto now = cluster_->Get(*id);
  ASSERT_TRUE(now.ok()) << now.status();
  ASSERT_TRUE(at_step(now->step() + 3));

  // The one that joined leaves for good.
  EXPECT_EQ(joiner->Stop(absl::Seconds(60)), "exited with 0");

  const auto job = cluster_->AwaitEnd(*id);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
  EXPECT_EQ(job->attempt(), 1) << "the learner never noticed";
  ExpectExactSums(*job);
}

}  // namespace
}  // namespace dtrpo

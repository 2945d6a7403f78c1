// What the tests of the whole loop share: a folder, the toy task, a cluster, and the sums that hold
// at the end of every job, whatever happened on the way.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/file_system.h"
#include "tests/support/run_program.h"
#include "tests/support/test_cluster.h"
#include "tests/support/toy_task.h"

namespace dtrpo {

class LoopTest : public ::testing::Test {
 protected:
  LoopTest() {
    const char* parent = std::getenv("TMPDIR");
    std::string pattern =
        absl::StrCat(parent == nullptr ? "/tmp" : parent, "/dtrpo_integration_XXXXXX");
    DTRPO_CHECK(mkdtemp(pattern.data()) != nullptr) << pattern;
    folder_ = pattern;
  }

  // The folder of a failed test stays, and the ends of the logs are shown.
  void TearDown() override {
    if (HasFailure() && cluster_ != nullptr) std::cerr << cluster_->LogTails() << std::endl;
    cluster_.reset();
    if (!HasFailure()) base::PosixFileSystem()->RemoveTree(folder_).IgnoreError();
  }

  void MakeTask(int base_steps = support::kToyBaseSteps,
                const std::string& family = "fast_dllm_v2") {
    auto task = support::MakeToyTask(folder_ + "/task", DTRPO_BIN_DIR, DTRPO_SOURCE_DIR, base_steps,
                                     family);
    ASSERT_TRUE(task.ok()) << task.status();
    task_ = *task;
  }

  void StartCluster(tools::LocalClusterOptions options = {}) {
    options.dir = folder_ + "/run";
    options.bin_dir = DTRPO_BIN_DIR;
    auto cluster = support::TestCluster::Start(std::move(options));
    ASSERT_TRUE(cluster.ok()) << cluster.status();
    cluster_ = *std::move(cluster);
  }

  // What a process under test wrote to its terminal goes to a file of the folder.
  support::ProgramResult Run(std::vector<std::string> arguments,
                             absl::Duration timeout = absl::Seconds(30)) const {
    arguments[0] = absl::StrCat(DTRPO_BIN_DIR, "/", arguments[0]);
    auto result = support::RunProgram(arguments, folder_ + "/program.log", timeout);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.value_or(support::ProgramResult{.exit_code = -1, .output = ""});
  }

  double ReplayMetric(const std::string& name) const {
    const auto value = cluster_->Metric(replay_, name);
    EXPECT_TRUE(value.ok()) << value.status();
    return value.value_or(-1);
  }

  // Invariant 13 of a job that succeeded, and every step once with a full batch, as the coordinator
  // counts them.
  static void ExpectExactCoordinatorSums(const v1::JobStatus& job) {
    const v1::PromptCounts& prompts = job.prompts();
    EXPECT_EQ(prompts.leased(), 0);
    EXPECT_EQ(prompts.stored(), 0);
    EXPECT_EQ(prompts.waiting(), 0);
    EXPECT_EQ(prompts.failed(), 0);
    EXPECT_EQ(prompts.consumed() + prompts.no_pair() + prompts.failed() + prompts.cancelled(),
              prompts.issued());

    const int64_t steps = job.spec().training().steps();
    EXPECT_EQ(job.step(), steps);
    ASSERT_EQ(job.steps_size(), steps);
    const int64_t pairs = job.spec().training().pairs_per_batch();
    for (int i = 0; i < job.steps_size(); ++i) {
      EXPECT_EQ(job.steps(i).step(), i + 1);
      EXPECT_EQ(job.steps(i).values().at("pairs"), pairs) << "step " << i + 1;
    }
  }

  // Invariants 6, 7 and 13 of a job that succeeded, as the coordinator and the replay store count
  // them independently. REQUIRES: the cluster's first job, and a replay process that lived all the
  // time.
  void ExpectExactSums(const v1::JobStatus& job) const {
    ExpectExactCoordinatorSums(job);
    const int64_t steps = job.spec().training().steps();
    const int64_t pairs = job.spec().training().pairs_per_batch();
    EXPECT_EQ(ReplayMetric("dtrpo_replay_consumed_pairs_total"), steps * pairs);
    EXPECT_EQ(ReplayMetric("dtrpo_replay_formed_batches_total"), steps);

    // A prompt is stored once, and once more for each time that it was evicted whole. What was
    // stored and never used is among the cancelled ones.
    const v1::PromptCounts& prompts = job.prompts();
    const double stored = ReplayMetric("dtrpo_replay_inserted_prompts_total");
    const int64_t accounted = prompts.consumed() + prompts.evicted_and_leased_again();
    EXPECT_GE(stored, accounted);
    EXPECT_LE(stored, accounted + prompts.cancelled());
    const double without = ReplayMetric("dtrpo_replay_no_pair_prompts_total");
    EXPECT_GE(without, prompts.no_pair());
    EXPECT_LE(without, prompts.no_pair() + prompts.cancelled());
  }

  std::string folder_;
  std::string replay_ = "replay";  // the service whose metrics count the jobs' pairs
  support::ToyTask task_;
  std::unique_ptr<support::TestCluster> cluster_;
};

}  // namespace dtrpo

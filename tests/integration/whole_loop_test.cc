// From prompts to a better policy: five processes, real gRPC.
#include <signal.h>

#include <fstream>
#include <set>

#include "common/checkpoint/checkpoint_folder.h"
#include "common/checkpoint/checkpoint_writer.h"
#include "tests/integration/loop_test.h"

namespace dtrpo {
namespace {

pid_t ParentOf(pid_t pid) {
  std::ifstream stat(absl::StrCat("/proc/", pid, "/stat"));
  std::string line;
  std::getline(stat, line);
  std::istringstream fields(line.substr(line.rfind(')') + 1));
  char state = 0;
  pid_t parent = 0;
  fields >> state >> parent;
  return parent;
}

double Accuracy(const v1::EvaluationRecord& evaluation) {
  return static_cast<double>(evaluation.correct()) / static_cast<double>(evaluation.total());
}

TEST_F(LoopTest, FiveProcessesTurnPromptsIntoABetterPolicy) {
  ASSERT_NO_FATAL_FAILURE(MakeTask());
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  std::set<std::string> kinds;
  std::set<pid_t> pids = {getpid()};
  for (const auto& member : cluster_->members()) {
    kinds.insert(member.kind);
    EXPECT_TRUE(pids.insert(member.pid).second) << member.name;
    EXPECT_EQ(kill(member.pid, 0), 0) << member.name;
    EXPECT_EQ(ParentOf(member.pid), getpid()) << member.name;
  }
  EXPECT_EQ(kinds,
            (std::set<std::string>{"coordinator", "learner", "reference", "replay", "rollout"}));

  const v1::JobSpec spec = task_.Job("blue");
  const auto id = cluster_->Submit(spec);
  ASSERT_TRUE(id.ok()) << id.status();
  const auto begun = cluster_->Await(
      *id, "the first answers", [](const v1::JobStatus& job) { return job.rollout_samples() > 0; });
  ASSERT_TRUE(begun.ok()) << begun.status();
  const auto job = cluster_->AwaitEnd(*id);
  ASSERT_TRUE(job.ok()) << job.status();
  ASSERT_EQ(job->state(), v1::SUCCEEDED) << job->reason();

  // Better than before: by the reward of what was sampled, and greedily on prompts never seen.
  EXPECT_LT(begun->reward_mean(), 0.45);
  EXPECT_GT(job->reward_mean(), 0.6);
  ASSERT_GE(job->evaluations_size(), 2);
  const v1::EvaluationRecord& before = job->evaluations(0);
  const v1::EvaluationRecord& after = job->evaluations(job->evaluations_size() - 1);
  EXPECT_EQ(before.version(), 0);
  EXPECT_EQ(after.version(), job->version());
  for (const v1::EvaluationRecord& evaluation : job->evaluations()) {
    EXPECT_TRUE(evaluation.complete()) << evaluation.version();
    EXPECT_EQ(evaluation.total(), 36) << evaluation.version();
    EXPECT_EQ(evaluation.samples_size(), 4) << evaluation.version();
  }
  EXPECT_GT(Accuracy(after), Accuracy(before) + 0.3);
  EXPECT_GT(Accuracy(after), 0.6);

  ExpectExactSums(*job);
  EXPECT_EQ(job->attempt(), 1);
  EXPECT_EQ(job->version(), spec.training().steps() / spec.training().publish_every());
  for (const auto& member : cluster_->members()) EXPECT_EQ(member.restarts, 0) << member.name;

  // The result is a complete checkpoint of the same model with other weights.
  EXPECT_TRUE(checkpoint::CheckComplete(base::PosixFileSystem(), job->checkpoint(),
                                        checkpoint::Verify::kChecksums)
                  .ok());
  const auto result = checkpoint::CheckpointFolder::Open(job->checkpoint());
  const auto base = checkpoint::CheckpointFolder::Open(task_.base());
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_TRUE(base.ok()) << base.status();
  EXPECT_EQ(result->TensorNames(), base->TensorNames());
  const auto trained = result->Tensor("model.embed_tokens.weight");
  const auto untrained = base->Tensor("model.embed_tokens.weight");
  ASSERT_TRUE(trained.ok() && untrained.ok());
  EXPECT_EQ(trained->shape, untrained->shape);
  EXPECT_NE(trained->data, untrained->data);
}

}  // namespace
}  // namespace dtrpo

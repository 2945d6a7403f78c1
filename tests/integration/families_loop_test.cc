// A short job on each model family, and on the example's model in bfloat16: real processes, from
// sampling to a checkpoint that can be sampled from again.
#include <cmath>

#include "absl/strings/str_replace.h"
#include "common/base/atomic_file.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "tests/integration/loop_test.h"

namespace dtrpo {
namespace {

constexpr int64_t kSteps = 4;

class FamiliesLoopTest : public LoopTest {
 protected:
  // Runs the job and checks what holds for every one of them. `mismatch`: |log-probability as
  // sampled - as the learner computes it|, in the mean.
  void TrainAndCheck(v1::JobSpec spec, checkpoint::DType dtype, double mismatch) {
    spec.mutable_training()->set_steps(kSteps);
    spec.mutable_training()->set_pairs_per_batch(8);
    spec.mutable_training()->set_publish_every(1);
    spec.mutable_objective()->set_sft_weight(0);
    spec.mutable_evaluation()->set_every_versions(0);
    spec.mutable_evaluation()->set_max_prompts(8);
    ASSERT_NO_FATAL_FAILURE(StartCluster());
    const auto id = cluster_->Submit(spec);
    ASSERT_TRUE(id.ok()) << id.status();
    const auto job = cluster_->AwaitEnd(*id);
    ASSERT_TRUE(job.ok()) << job.status();
    ASSERT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
    EXPECT_EQ(job->step(), kSteps);
    EXPECT_EQ(job->prompts().failed(), 0);
    ASSERT_EQ(job->steps_size(), kSteps);
    for (const v1::StepRecord& step : job->steps()) {
      for (const auto& [name, value] : step.values()) {
        EXPECT_TRUE(std::isfinite(value)) << "step " << step.step() << ": " << name;
      }
      EXPECT_EQ(step.values().at("skipped"), 0);
    }
    const auto& first = job->steps(0).values();
    EXPECT_NEAR(first.at("preference_loss"), std::log(2.0), 1e-4);
    EXPECT_LT(first.at("mismatch"), mismatch);
    EXPECT_GT(first.at("gradient_norm"), 0);
    EXPECT_NE(job->steps(kSteps - 1).values().at("margin"), 0);

    const auto saved = checkpoint::CheckpointFolder::Open(job->checkpoint());
    ASSERT_TRUE(saved.ok()) << saved.status();
    for (const std::string& name : saved->TensorNames()) {
      EXPECT_EQ(saved->Find(name)->dtype, dtype) << name;
    }
    const support::ProgramResult sampled =
        Run({"dtrpo", "generate", "--model", job->checkpoint(), "--prompts", spec.data().heldout(),
             "--output", folder_ + "/t.jsonl", "--max-new-tokens", "8", "--unmask", "steps:4",
             "--threads", "1"});
    EXPECT_EQ(sampled.exit_code, 0) << sampled.output;
  }

  // The toy task's prompts with another answer.
  std::string WantRed(const std::string& prompts) const {
    const auto lines = base::PosixFileSystem()->Read(prompts);
    EXPECT_TRUE(lines.ok()) << lines.status();
    const std::string path = folder_ + "/red.jsonl";
    DTRPO_CHECK_OK(base::WriteFileAtomically(base::PosixFileSystem(), path,
                                             absl::StrReplaceAll(*lines, {{"blue", "red"}})));
    return path;
  }

  void TrainFamily(const std::string& family, int base_steps = support::kToyBaseSteps) {
    ASSERT_NO_FATAL_FAILURE(MakeTask(base_steps, family));
    const auto base = checkpoint::CheckpointFolder::OpenWithoutTensors(task_.base());
    ASSERT_TRUE(base.ok()) << base.status();
    EXPECT_EQ(base->descriptor().family, family);
    EXPECT_EQ(base->descriptor().stop_ids.front(), 274);  // <|im_end|>
    v1::JobSpec spec = task_.Job(family);
    // What the base model says most of the time: no step waits for a lucky sample.
    spec.mutable_data()->set_prompts(WantRed(task_.prompts()));
    spec.mutable_sampling()->set_unmask("steps:6");
    spec.mutable_sampling()->set_max_new_tokens(6);
    spec.mutable_sampling()->set_samples_per_prompt(8);
    TrainAndCheck(spec, checkpoint::DType::kF32, /*mismatch=*/1e-3);
  }
};

TEST_F(FamiliesLoopTest, Sdar) { TrainFamily("sdar"); }

TEST_F(FamiliesLoopTest, Llada) { TrainFamily("llada", 2 * support::kToyBaseSteps); }

TEST_F(FamiliesLoopTest, Dream) { TrainFamily("dream"); }

TEST_F(FamiliesLoopTest, TheExamplesModelInBfloat16) {
  const std::string data = folder_ + "/data";
  ASSERT_EQ(Run({"dtrpo", "make-arithmetic", "--output", data}).exit_code, 0);
  v1::JobSpec spec;
  spec.set_name("bfloat16");
  spec.mutable_model()->set_path(DTRPO_SOURCE_DIR "/examples/arithmetic/base");
  spec.mutable_model()->set_dtype("bfloat16");
  spec.mutable_data()->set_prompts(data + "/train.jsonl");
  spec.mutable_data()->set_heldout(data + "/heldout.jsonl");
  spec.mutable_sampling()->set_unmask("steps:2");
  spec.mutable_sampling()->set_max_new_tokens(4);
  spec.mutable_sampling()->set_samples_per_prompt(4);
  spec.mutable_training()->set_learning_rate(1e-4);
  spec.mutable_training()->set_max_shard_bytes(100'000);
  spec.set_output(folder_ + "/output");
  TrainAndCheck(spec, checkpoint::DType::kBF16, /*mismatch=*/0.05);
}

}  // namespace
}  // namespace dtrpo

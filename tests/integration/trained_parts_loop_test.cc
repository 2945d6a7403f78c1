// Jobs that train a part of the model, over real processes: rollouts get that part alone, sample
// with it what the learner computes, and the saved adapters and checkpoints load.
#include <cmath>
#include <fstream>

#include "common/checkpoint/checkpoint_folder.h"
#include "common/checkpoint/safetensors.h"
#include "nlohmann/json.hpp"
#include "tests/integration/loop_test.h"

namespace dtrpo {
namespace {

constexpr int64_t kSteps = 6;

class TrainedPartsLoopTest : public LoopTest {
 protected:
  void MakeData() {
    data_ = folder_ + "/data";
    ASSERT_EQ(Run({"dtrpo", "make-arithmetic", "--output", data_}).exit_code, 0);
  }

  // On the arithmetic example.
  v1::JobSpec Job() const {
    v1::JobSpec spec;
    spec.set_name("parts");
    spec.mutable_model()->set_path(kBase);
    spec.mutable_data()->set_prompts(data_ + "/train.jsonl");
    spec.mutable_data()->set_heldout(data_ + "/heldout.jsonl");
    spec.mutable_sampling()->set_unmask("steps:2");
    spec.mutable_sampling()->set_max_new_tokens(4);
    spec.mutable_sampling()->set_samples_per_prompt(4);
    spec.mutable_objective()->set_sft_weight(0);
    spec.mutable_training()->set_steps(kSteps);
    spec.mutable_training()->set_pairs_per_batch(8);
    spec.mutable_training()->set_learning_rate(5e-3);
    spec.mutable_training()->set_checkpoint_every(3);
    spec.mutable_evaluation()->set_max_prompts(8);
    spec.set_output(folder_ + "/output");
    return spec;
  }

  // Runs the job to its end. `version_bytes`: of the image of a version.
  void Train(const v1::JobSpec& spec, double version_bytes, v1::JobStatus* result) {
    ASSERT_NO_FATAL_FAILURE(StartCluster());
    const auto id = cluster_->Submit(spec);
    ASSERT_TRUE(id.ok()) << id.status();
    const auto job = cluster_->AwaitEnd(*id);
    ASSERT_TRUE(job.ok()) << job.status();
    ASSERT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
    ASSERT_EQ(job->steps_size(), kSteps);
    EXPECT_NEAR(job->steps(0).values().at("preference_loss"), std::log(2.0), 1e-4);
    for (const v1::StepRecord& step : job->steps()) {
      EXPECT_EQ(step.values().at("skipped"), 0);
      EXPECT_GT(step.values().at("gradient_norm"), 0);
    }
    // What rollouts sampled with the newest weights is what the learner computes.
    EXPECT_LT(job->steps(0).values().at("mismatch"), 1e-4);
    EXPECT_NE(job->steps(kSteps - 1).values().at("margin"), 0);

    // Every version that came over the network was the trained part and nothing else.
    for (const auto& member : cluster_->members()) {
      if (member.kind != "rollout") continue;
      const auto bytes =
          cluster_->Metric(member.name, "dtrpo_rollout_weights_received_bytes_total");
      ASSERT_TRUE(bytes.ok()) << bytes.status();
      EXPECT_GE(*bytes, version_bytes) << member.name;
      EXPECT_LE(*bytes, kSteps * version_bytes) << member.name;
      EXPECT_EQ(std::fmod(*bytes, version_bytes), 0) << member.name;
    }
    *result = *job;
  }

  // Samples with the model and scores each token again, exactly.
  void SampleAndScore(std::vector<std::string> model) const {
    std::vector<std::string> sample = {"dtrpo",
                                       "generate",
                                       "--prompts",
                                       data_ + "/heldout.jsonl",
                                       "--output",
                                       folder_ + "/t.jsonl",
                                       "--max-new-tokens",
                                       "4",
                                       "--unmask",
                                       "steps:2",
                                       "--temperature",
                                       "1",
                                       "--threads",
                                       "1"};
    std::vector<std::string> score = {
        "dtrpo",   "score",     "--input", folder_ + "/t.jsonl", "--output", folder_ + "/s.jsonl",
        "--exact", "--threads", "1"};
    sample.insert(sample.end(), model.begin(), model.end());
    score.insert(score.end(), model.begin(), model.end());
    const auto sampled = Run(sample);
    ASSERT_EQ(sampled.exit_code, 0) << sampled.output;
    const auto scored = Run(score);
    ASSERT_EQ(scored.exit_code, 0) << scored.output;
    std::ifstream trajectories(folder_ + "/t.jsonl"), scores(folder_ + "/s.jsonl");
    int compared = 0;
    for (std::string recorded, again;
         std::getline(trajectories, recorded) && std::getline(scores, again);) {
      const auto expected = nlohmann::json::parse(recorded)["behaviour_logprob"];
      const auto found = nlohmann::json::parse(again)["token_logprob"];
      ASSERT_EQ(found.size(), expected.size()) << recorded;
      for (size_t i = 0; i < found.size(); ++i, ++compared) {
        EXPECT_NEAR(found[i].get<double>(), expected[i].get<double>(), 1e-4) << again;
      }
    }
    EXPECT_GT(compared, 100);
  }

  static constexpr char kBase[] = DTRPO_SOURCE_DIR "/examples/arithmetic/base";
  std::string data_;
};

// Bytes of tensors as an image of weights holds them, each from a multiple of 64 on.
double ImageBytes(const std::vector<int64_t>& tensors) {
  int64_t bytes = 0;
  for (const int64_t tensor : tensors) bytes = (bytes + 63) / 64 * 64 + tensor;
  return static_cast<double>(bytes);
}

TEST_F(TrainedPartsLoopTest, AdaptersAloneArePushedAndSavedAndSampledWith) {
  ASSERT_NO_FATAL_FAILURE(MakeData());
  v1::JobSpec spec = Job();
  spec.mutable_training()->mutable_lora()->set_rank(4);
  spec.mutable_training()->mutable_lora()->add_targets("q_proj");
  spec.mutable_training()->mutable_lora()->add_targets("down_proj");
  spec.mutable_training()->mutable_lora()->set_save("adapter");
  spec.mutable_training()->set_activation_checkpointing(true);
  const auto base = checkpoint::CheckpointFolder::Open(kBase);
  ASSERT_TRUE(base.ok()) << base.status();
  const checkpoint::ModelDescriptor& d = base->descriptor();
  std::vector<int64_t> adapters;
  for (int64_t layer = 0; layer < d.num_layers; ++layer) {
    for (const int64_t width : {d.hidden_size, d.num_heads * d.head_dim,  // q_proj: in, out
                                d.intermediate_size, d.hidden_size}) {    // down_proj
      adapters.push_back(4 * 4 * width);
    }
  }
  v1::JobStatus job;
  ASSERT_NO_FATAL_FAILURE(Train(spec, ImageBytes(adapters), &job));

  // PEFT's two files, no weights of the base.
  const auto saved =
      checkpoint::SafetensorsFile::Map(job.checkpoint() + "/adapter_model.safetensors");
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_EQ((*saved)->tensors().size(), adapters.size());
  EXPECT_NE((*saved)->Find("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"),
            nullptr);
  const auto config = base::PosixFileSystem()->Read(job.checkpoint() + "/adapter_config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  const auto json = nlohmann::json::parse(*config);
  EXPECT_EQ(json["r"], 4);
  EXPECT_EQ(json["lora_alpha"], 8);
  EXPECT_EQ(json["target_modules"], nlohmann::json({"down_proj", "q_proj"}));
  EXPECT_FALSE(base::PosixFileSystem()->Exists(job.checkpoint() + "/model.safetensors"));
  SampleAndScore({"--model", kBase, "--adapter", job.checkpoint()});
}

TEST_F(TrainedPartsLoopTest, AGroupOfTensorsIsPushedAndTheCheckpointIsWhole) {
  ASSERT_NO_FATAL_FAILURE(MakeData());
  v1::JobSpec spec = Job();
  spec.mutable_training()->add_trainable("*.mlp.down_proj.weight");
  spec.mutable_training()->add_trainable("*.o_proj.weight");
  spec.mutable_training()->set_learning_rate(5e-4);
  const auto base = checkpoint::CheckpointFolder::Open(kBase);
  ASSERT_TRUE(base.ok()) << base.status();
  const checkpoint::ModelDescriptor& d = base->descriptor();
  std::vector<int64_t> group;
  for (int64_t layer = 0; layer < d.num_layers; ++layer) {
    group.push_back(4 * d.hidden_size * d.num_heads * d.head_dim);
    group.push_back(4 * d.hidden_size * d.intermediate_size);
  }
  v1::JobStatus job;
  ASSERT_NO_FATAL_FAILURE(Train(spec, ImageBytes(group), &job));

  const auto saved = checkpoint::CheckpointFolder::Open(job.checkpoint());
  ASSERT_TRUE(saved.ok()) << saved.status();
  ASSERT_EQ(saved->TensorNames(), base->TensorNames());
  for (const std::string& name : saved->TensorNames()) {
    const bool trained = name.find("down_proj") != name.npos || name.find("o_proj") != name.npos;
    EXPECT_EQ(saved->Find(name)->data != base->Find(name)->data, trained) << name;
  }
  SampleAndScore({"--model", job.checkpoint()});
}

TEST_F(TrainedPartsLoopTest, APatternThatMatchesNothingEndsTheJobWithThatReason) {
  ASSERT_NO_FATAL_FAILURE(MakeData());
  v1::JobSpec spec = Job();
  spec.mutable_training()->add_trainable("*.mpl.*");
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  const auto id = cluster_->Submit(spec);
  ASSERT_TRUE(id.ok()) << id.status();
  const auto job = cluster_->AwaitEnd(*id);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::FAILED);
  EXPECT_NE(job->reason().find("'*.mpl.*' matches no tensor"), std::string::npos) << job->reason();
}

}  // namespace
}  // namespace dtrpo

// Not thread-safe. What a rollout holds once it has loaded a job, without the loop that loads it: a
// tiny random model with the example's tokenizer, and a generator over it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/fake_metrics.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/diffusion/block_sampler.h"
#include "common/training/weights_image.h"
#include "services/rollout/text_generator.h"
#include "tests/unit/rollout/unigram_checkpoint.h"

namespace dtrpo::rollout {

class GenerateHarness {
 public:
  static constexpr char kJob[] = "add-1";

  explicit GenerateHarness(TextGenerator::Limits limits = {},
                           base::Clock* clock = base::RealClock())
      : path_(support::TestFolder() + "/base"),
        generator_(limits, &slot_, &versions_, clock, &metrics_) {
    support::WriteTinyCheckpoint(path_, {.tokenizer_from = kExample});
    spec_.model.path = path_;
    spec_.sampling.unmask = "steps:2";
    spec_.sampling.max_new_tokens = 22;
  }

  // Answers are drawn from `logits`, whatever was asked.
  void MakeUnigram(const std::map<int32_t, double>& logits) {
    WriteUnigramCheckpoint(path_, logits);
  }

  // A checkpoint without tokenizer files, with a vocabulary of 40.
  void MakeTextless() { support::WriteTinyCheckpoint(path_); }

  // One that exists.
  void UseCheckpoint(const std::string& path) { path_ = path; }

  // As the worker does when it has opened the job: version 0, and the slot filled.
  void Serve() {
    const auto folder = checkpoint::CheckpointFolder::Open(path_);
    DTRPO_CHECK_OK(folder);
    auto encoder = text::PromptEncoder::Load(path_, spec_.data.apply_chat_template);
    DTRPO_CHECK_OK(encoder);
    encoder_ = std::make_shared<const text::PromptEncoder>(*std::move(encoder));
    policies_ = std::make_shared<PolicyCache>(folder->descriptor());
    Install(0);
    slot_.Put(std::make_shared<ServedJob>(ServedJob{.job_id = kJob,
                                                    .spec = spec_,
                                                    .descriptor = folder->descriptor(),
                                                    .encoder = encoder_,
                                                    .policies = policies_}));
  }

  // What a learner would push: version 0 is the checkpoint, others have random weights.
  std::shared_ptr<const weights::Image> Install(int64_t version) {
    const auto image = training::MakeImage(*Model(version), kJob, version, 0);
    DTRPO_CHECK_OK(image);
    DTRPO_CHECK_OK(versions_.Install(*image));
    return *image;
  }

  std::unique_ptr<model::Transformer> Model(int64_t version) const {
    if (version == 0) return support::LoadModel(path_);
    const auto folder = checkpoint::CheckpointFolder::Open(path_);
    DTRPO_CHECK_OK(folder);
    auto model = model::Transformer::Random(folder->descriptor(), 100 + version, {});
    DTRPO_CHECK_OK(model);
    return *std::move(model);
  }

  // What the sampler answers to `tokens` by itself.
  trajectory::Trajectory Expected(int64_t version, const std::vector<int32_t>& tokens,
                                  const trajectory::SamplerParameters& parameters,
                                  uint64_t seed) const {
    const auto model = Model(version);
    diffusion::SamplerOptions options;
    options.parameters = parameters;
    const auto sampler = diffusion::BlockSampler::Create(model.get(), options);
    DTRPO_CHECK_OK(sampler);
    const diffusion::SampleRequest request = {.id = "x", .prompt_tokens = tokens, .seed = seed};
    const auto trajectories = (*sampler)->Sample({&request, 1});
    DTRPO_CHECK_OK(trajectories);
    return trajectories->front();
  }

  struct Answer {
    absl::Status status;
    GenerateStart start;
    int starts = 0;
    std::vector<int32_t> tokens;
    std::vector<std::string> pieces;
    std::string text;
    int blocks = 0;
    GenerateEnd end;
  };
  // `on_block` is called after a block was noted.
  Answer Ask(
      const GenerateTask& task, const std::function<bool()>& keep_going = [] { return true; },
      const std::function<void()>& on_block = [] {}) {
    Answer answer;
    const auto end = generator_.Generate(
        task, {.on_start =
                   [&](const GenerateStart& start) {
                     answer.start = start;
                     ++answer.starts;
                   },
               .on_block =
                   [&](const GeneratedBlock& block) {
                     EXPECT_EQ(block.begin, static_cast<int64_t>(answer.tokens.size()));
                     answer.tokens.insert(answer.tokens.end(), block.tokens.begin(),
                                          block.tokens.end());
                     answer.pieces.push_back(block.text);
                     answer.text += block.text;
                     ++answer.blocks;
                     on_block();
                   },
               .keep_going = keep_going});
    answer.status = end.status();
    if (end.ok()) answer.end = *end;
    return answer;
  }

  double Calls(const std::string& outcome) const {
    return registry_.Value("dtrpo_rollout_generate_calls_total", {{"outcome", outcome}});
  }

  job::JobSpec& spec() { return spec_; }
  ServedJobSlot& slot() { return slot_; }
  weights::VersionStore& versions() { return versions_; }
  TextGenerator& generator() { return generator_; }
  const text::PromptEncoder& encoder() const { return *encoder_; }
  PolicyCache& policies() { return *policies_; }
  const base::FakeMetrics& registry() const { return registry_; }

 private:
  std::string path_;
  job::JobSpec spec_;
  base::FakeMetrics registry_;
  const RolloutMetrics metrics_{&registry_};
  ServedJobSlot slot_;
  weights::VersionStore versions_;
  std::shared_ptr<const text::PromptEncoder> encoder_;
  std::shared_ptr<PolicyCache> policies_;
  TextGenerator generator_;
};

}  // namespace dtrpo::rollout

#include "tools/dtrpo/compare/sampled_pairs.h"

#include <utility>

#include "absl/types/span.h"
#include "common/base/status_macros.h"
#include "common/diffusion/block_sampler.h"
#include "common/reward/pair_builder.h"
#include "common/trajectory/ids.h"
#include "tools/dtrpo/answer_evaluation.h"

namespace dtrpo::tools {
namespace {

constexpr char kJob[] = "compare";

bool Finished(const trajectory::Trajectory& t) {
  return t.stop_index >= 0 && t.stop_index < trajectory::TargetCount(t);
}

}  // namespace

SampledPairs::SampledPairs(const std::vector<text::Prompt>* prompts,
                           const text::PromptEncoder* encoder, const Options& options,
                           std::unique_ptr<reward::Verifier> verifier)
    : prompts_(prompts),
      encoder_(encoder),
      options_(options),
      verifier_(std::move(verifier)),
      order_(static_cast<int64_t>(prompts->size()), options.seed) {}

absl::StatusOr<std::unique_ptr<SampledPairs>> SampledPairs::Create(
    const std::vector<text::Prompt>* prompts, const text::PromptEncoder* encoder,
    const Options& options) {
  DTRPO_ASSIGN_OR_RETURN(std::unique_ptr<reward::Verifier> verifier,
                         reward::Verifier::Create(options.verifier));
  return std::unique_ptr<SampledPairs>(
      new SampledPairs(prompts, encoder, options, std::move(verifier)));
}

absl::StatusOr<std::vector<trajectory::PreferencePair>> SampledPairs::Next(
    const model::Transformer& sampling, int64_t version) {
  const size_t samples = static_cast<size_t>(options_.samples_per_prompt);
  const int64_t size = static_cast<int64_t>(prompts_->size());
  std::vector<text::Prompt> asked;  // each as often as it is answered
  std::vector<diffusion::SampleRequest> requests;
  const int64_t first = used_;
  for (; used_ < first + options_.prompts; ++used_) {
    const int64_t index = order_.ExampleAt(used_);
    for (size_t sample = 0; sample < samples; ++sample) {
      const std::string id = trajectory::TrajectoryId(kJob, used_ / size, index, /*attempt=*/0,
                                                      static_cast<int32_t>(sample));
      asked.push_back((*prompts_)[index]);
      requests.push_back({id, asked.back().tokens, trajectory::TrajectorySeed(options_.seed, id)});
    }
  }
  diffusion::SamplerOptions sampler_options;
  sampler_options.parameters = options_.parameters;
  sampler_options.batch_sequences = options_.batch;
  sampler_options.weights_version = version;
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<diffusion::BlockSampler> sampler,
                         diffusion::BlockSampler::Create(&sampling, sampler_options));
  DTRPO_ASSIGN_OR_RETURN(std::vector<trajectory::Trajectory> answers, sampler->Sample(requests));
  for (trajectory::Trajectory& t : answers) {
    const int64_t tokens = trajectory::TargetCount(t) - (Finished(t) ? 1 : 0);
    DTRPO_ASSIGN_OR_RETURN(
        t.text, encoder_->Decode(absl::MakeConstSpan(t.response_tokens).subspan(0, tokens)));
  }
  DTRPO_ASSIGN_OR_RETURN(const std::vector<JudgedAnswer> judged,
                         JudgeAnswers(asked, answers, *verifier_));
  std::vector<bool> right;
  for (size_t i = 0; i < answers.size(); ++i) {
    right.push_back(judged[i].correct);
    answers[i].reward = right[i] ? 1 : 0;
  }

  std::vector<trajectory::PreferencePair> pairs;
  for (size_t begin = 0; begin < answers.size(); begin += samples) {
    const auto group = absl::MakeConstSpan(answers).subspan(begin, samples);
    for (const reward::PairChoice& choice :
         reward::BuildPairs(group, {right.begin() + begin, right.begin() + begin + samples},
                            {.max_pairs = options_.max_pairs_per_prompt})) {
      pairs.push_back({.id = group[choice.chosen].id,
                       .chosen = group[choice.chosen],
                       .rejected = group[choice.rejected]});
    }
  }
  return pairs;
}

}  // namespace dtrpo::tools

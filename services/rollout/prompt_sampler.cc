#include "services/rollout/prompt_sampler.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/reward/pair_builder.h"
#include "common/text/prompt_file.h"
#include "common/trajectory/block_layout.h"
#include "common/trajectory/ids.h"
#include "common/trajectory/state_at.h"

namespace dtrpo::rollout {
namespace {

// Forwards a sequence took part in: one per step of a block, and, where a block's first token is
// read from it, the clean pass that ends each block but the last.
int64_t ForwardsOf(const trajectory::Trajectory& t) {
  const int64_t clean_passes = t.sampler.first_token == trajectory::FirstToken::kNone ? 0 : 1;
  int64_t forwards = -clean_passes;
  for (const trajectory::ResponseBlock& block : trajectory::ResponseBlocks(t)) {
    std::set<int32_t> steps;
    for (int64_t i = block.begin; i < block.end; ++i) {
      if (t.unmask_step[i] > trajectory::kBlockFirstStep) steps.insert(t.unmask_step[i]);
    }
    forwards += static_cast<int64_t>(steps.size()) + clean_passes;
  }
  return std::max<int64_t>(forwards, 1);
}

// The stop token is there, and within the limit that the job set: one beyond max_new_tokens is no
// target.
bool Finished(const trajectory::Trajectory& t) {
  return t.stop_index >= 0 && t.stop_index < trajectory::TargetCount(t);
}

// Targets without the stop token that ends them.
absl::Span<const int32_t> AnswerTokens(const trajectory::Trajectory& t) {
  const int64_t targets = trajectory::TargetCount(t);
  return absl::MakeConstSpan(t.response_tokens).subspan(0, targets - (Finished(t) ? 1 : 0));
}

}  // namespace

trajectory::SamplerParameters SamplerParametersOf(const job::JobSpec& spec, bool evaluate) {
  const job::SamplingSpec& sampling = spec.sampling;
  trajectory::SamplerParameters parameters;
  parameters.unmask = sampling.unmask;
  parameters.sub_block = sampling.sub_block;
  parameters.temperature = sampling.temperature;
  parameters.top_p = sampling.top_p;
  parameters.top_k = sampling.top_k;
  parameters.max_new_tokens = sampling.max_new_tokens;
  parameters.confidence = sampling.confidence;
  parameters.repetition_guard = sampling.repetition_guard;
  if (sampling.greedy_first_token) parameters.first_token = trajectory::FirstToken::kGreedy;
  if (evaluate) {
    if (!spec.evaluation.unmask.empty()) parameters.unmask = spec.evaluation.unmask;
    parameters.temperature = 0;
  }
  return parameters;
}

PromptSampler::PromptSampler(std::string job_id, const job::JobSpec& spec,
                             const checkpoint::ModelDescriptor& descriptor,
                             const BatchLimits& batch, text::PromptEncoder encoder,
                             std::unique_ptr<reward::Verifier> verifier,
                             const RolloutMetrics* metrics)
    : job_id_(std::move(job_id)),
      spec_(spec),
      descriptor_(descriptor),
      batch_(batch),
      encoder_(std::make_shared<const text::PromptEncoder>(std::move(encoder))),
      verifier_(std::move(verifier)),
      metrics_(metrics) {}

absl::StatusOr<std::unique_ptr<PromptSampler>> PromptSampler::Create(
    std::string job_id, const job::JobSpec& spec, const checkpoint::ModelDescriptor& descriptor,
    const BatchLimits& batch, const RolloutMetrics* metrics) {
  DTRPO_ASSIGN_OR_RETURN(text::PromptEncoder encoder,
                         text::PromptEncoder::Load(spec.model.path, spec.data.apply_chat_template));
  DTRPO_ASSIGN_OR_RETURN(std::unique_ptr<reward::Verifier> verifier,
                         reward::Verifier::Create(spec.reward.verifier));
  return std::unique_ptr<PromptSampler>(new PromptSampler(std::move(job_id), spec, descriptor,
                                                          batch, std::move(encoder),
                                                          std::move(verifier), metrics));
}

diffusion::SamplerOptions PromptSampler::Options(bool evaluate, int64_t version) const {
  diffusion::SamplerOptions options;
  options.parameters = SamplerParametersOf(spec_, evaluate);
  options.weights_version = version;
  options.model_id = spec_.model.path;
  options.batch_sequences = batch_.sequences;
  options.max_cache_bytes = batch_.cache_bytes;
  return options;
}

std::string PromptSampler::TrajectoryId(const PromptTask& task, int64_t version,
                                        int32_t sample) const {
  const std::string job = task.evaluate ? absl::StrCat(job_id_, "/evaluation-", version) : job_id_;
  return trajectory::TrajectoryId(job, task.epoch, task.prompt_index, task.prompt_attempt, sample);
}

absl::StatusOr<std::vector<PromptResult>> PromptSampler::Run(
    const model::Transformer& policy, int64_t version, absl::Span<const PromptTask> tasks,
    const std::function<bool()>& keep_going) {
  std::vector<PromptResult> results(tasks.size());
  std::vector<text::Prompt> prompts(tasks.size());
  std::vector<diffusion::SampleRequest> requests;
  for (size_t i = 0; i < tasks.size(); ++i) {
    absl::StatusOr<text::Prompt> prompt = text::ParsePromptLine(
        tasks[i].prompt_json, *encoder_, descriptor_.vocab_size, spec_.data.answer_field);
    results[i].status = prompt.status();
    if (!prompt.ok()) continue;
    prompts[i] = *std::move(prompt);
    for (int32_t sample = 0; sample < SamplesOf(tasks[i]); ++sample) {
      const std::string id = TrajectoryId(tasks[i], version, sample);
      requests.push_back({id, prompts[i].tokens, trajectory::TrajectorySeed(spec_.seed, id)});
    }
  }
  const bool evaluate = !tasks.empty() && tasks.front().evaluate;
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<diffusion::BlockSampler> sampler,
                         diffusion::BlockSampler::Create(&policy, Options(evaluate, version)));
  DTRPO_ASSIGN_OR_RETURN(std::vector<trajectory::Trajectory> trajectories,
                         sampler->Sample(requests, keep_going));
  metrics_->forwards->Increment(static_cast<double>(sampler->statistics().forwards));

  auto next = std::make_move_iterator(trajectories.begin());
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (!results[i].status.ok()) continue;
    std::vector<trajectory::Trajectory> samples(next, next + SamplesOf(tasks[i]));
    next += SamplesOf(tasks[i]);
    if (absl::Status status = Judge(tasks[i], prompts[i].answer, std::move(samples), results[i]);
        !status.ok()) {
      results[i] = {.status = std::move(status), .pairs = {}, .kept = {}};
    }
    metrics_->generated_tokens->Increment(static_cast<double>(results[i].tokens));
    metrics_->samples->Increment(static_cast<double>(results[i].samples));
    metrics_->sequence_forwards->Increment(static_cast<double>(results[i].forwards));
  }
  return results;
}

absl::Status PromptSampler::Judge(const PromptTask& task, const std::string& expected,
                                  std::vector<trajectory::Trajectory> samples,
                                  PromptResult& result) const {
  for (trajectory::Trajectory& t : samples) {
    DTRPO_ASSIGN_OR_RETURN(t.text, encoder_->Decode(AnswerTokens(t)));
    DTRPO_ASSIGN_OR_RETURN(
        reward::Judgement judgement,
        verifier_->Judge({t.text, Finished(t), trajectory::TargetCount(t)}, expected));
    if (task.evaluate) result.correct = judgement.correct;
    t.reward = judgement.reward;
    t.reward_reason = std::move(judgement.reason);
    result.samples += 1;
    result.tokens += trajectory::TargetCount(t);
    result.forwards += ForwardsOf(t);
    result.reward_sum += t.reward;
  }
  if (task.evaluate) {
    const trajectory::Trajectory& t = samples.front();
    if (task.keep_sample) {
      DTRPO_ASSIGN_OR_RETURN(result.kept.prompt, encoder_->Decode(t.prompt_tokens));
      DTRPO_ASSIGN_OR_RETURN(result.kept.denoising, Denoising(t));
      result.kept.answer = t.text;
      result.kept.expected = expected;
    }
    return absl::OkStatus();
  }
  int32_t number = 0;
  for (const reward::PairChoice& choice :
       reward::BuildPairs(samples, spec_.reward.min_gap, spec_.reward.max_pairs_per_prompt)) {
    result.pairs.push_back({.id = trajectory::PairId(job_id_, task.epoch, task.prompt_index,
                                                     task.prompt_attempt, number++),
                            .chosen = samples[choice.chosen],
                            .rejected = samples[choice.rejected]});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> PromptSampler::Denoising(
    const trajectory::Trajectory& t) const {
  std::vector<std::string> lines;
  const size_t targets = static_cast<size_t>(trajectory::TargetCount(t));
  for (const std::vector<int32_t>& frame : trajectory::DenoisingFrames(t, descriptor_.mask_id)) {
    const auto shown = absl::MakeConstSpan(frame).subspan(0, targets);
    std::string line;
    // Runs between masks are decoded whole: a character may be spread over several tokens.
    for (size_t begin = 0; begin < shown.size();) {
      if (shown[begin] == descriptor_.mask_id) {
        line += kMaskSign;
        ++begin;
        continue;
      }
      size_t end = begin;
      while (end < shown.size() && shown[end] != descriptor_.mask_id) ++end;
      DTRPO_ASSIGN_OR_RETURN(const std::string run,
                             encoder_->Decode(shown.subspan(begin, end - begin)));
      line += run;
      begin = end;
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace dtrpo::rollout

#include "services/rollout/prompt_sampler.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/evaluation/question.h"
#include "common/evaluation/sampled_answer.h"
#include "common/job/reward_terms.h"
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

std::vector<reward::Term> TermsOf(const job::JobSpec& spec) {
  if (spec.kind != job::JobKind::kEval) return job::RewardTerms(spec.reward);
  const std::string verifier = spec.evaluation.verifier.empty()
                                   ? evaluation::DefaultVerifier(spec.evaluation.layout)
                                   : spec.evaluation.verifier;
  if (verifier.empty()) return job::RewardTerms(spec.reward);
  return {{verifier, 1}};
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
    parameters.temperature = spec.evaluation.temperature;
  }
  return parameters;
}

PromptSampler::PromptSampler(std::string job_id, const job::JobSpec& spec,
                             const checkpoint::ModelDescriptor& descriptor,
                             const BatchLimits& batch, text::PromptEncoder encoder,
                             std::unique_ptr<reward::Judge> judge, const RolloutRunMetrics* metrics)
    : job_id_(std::move(job_id)),
      spec_(spec),
      descriptor_(descriptor),
      batch_(batch),
      encoder_(std::make_shared<const text::PromptEncoder>(std::move(encoder))),
      judge_(std::move(judge)),
      pair_options_{.pairing = *reward::ParsePairing(spec.reward.pairing),
                    .min_gap = spec.reward.min_gap,
                    .max_pairs = spec.reward.max_pairs_per_prompt},
      metrics_(metrics) {}

absl::StatusOr<std::unique_ptr<PromptSampler>> PromptSampler::Create(
    std::string job_id, const job::JobSpec& spec, const checkpoint::ModelDescriptor& descriptor,
    const BatchLimits& batch, reward::RemoteReward* service, const RolloutRunMetrics* metrics) {
  DTRPO_ASSIGN_OR_RETURN(text::PromptEncoder encoder,
                         text::PromptEncoder::Load(spec.model.path, spec.data.apply_chat_template));
  DTRPO_ASSIGN_OR_RETURN(std::unique_ptr<reward::Judge> judge,
                         reward::Judge::Create(TermsOf(spec), service));
  return std::unique_ptr<PromptSampler>(new PromptSampler(
      std::move(job_id), spec, descriptor, batch, std::move(encoder), std::move(judge), metrics));
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

absl::StatusOr<SampledPrompts> PromptSampler::Sample(const model::Transformer& policy,
                                                     int64_t version,
                                                     absl::Span<const PromptTask> tasks,
                                                     const std::function<bool()>& keep_going) {
  SampledPrompts sampled = {.tasks = {tasks.begin(), tasks.end()},
                            .prompts = std::vector<text::Prompt>(tasks.size()),
                            .samples = {},
                            .results = std::vector<PromptResult>(tasks.size())};
  std::vector<diffusion::SampleRequest> requests;
  for (size_t i = 0; i < tasks.size(); ++i) {
    absl::StatusOr<text::Prompt> prompt = text::ParsePromptLine(
        tasks[i].prompt_json, *encoder_, descriptor_.vocab_size, spec_.data.answer_field);
    sampled.results[i].status = prompt.status();
    if (!prompt.ok()) continue;
    sampled.prompts[i] = *std::move(prompt);
    for (int32_t sample = 0; sample < SamplesOf(tasks[i]); ++sample) {
      // As `dtrpo eval` names them: the same seeds, so the same answers.
      const std::string id = OnlyEvaluates() ? evaluation::AnswerName(sampled.prompts[i].id, sample)
                                             : TrajectoryId(tasks[i], version, sample);
      requests.push_back(
          {id, sampled.prompts[i].tokens, trajectory::TrajectorySeed(spec_.seed, id)});
    }
  }
  const bool evaluate = !tasks.empty() && tasks.front().evaluate;
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<diffusion::BlockSampler> sampler,
                         diffusion::BlockSampler::Create(&policy, Options(evaluate, version)));
  const absl::Cleanup idle = [this] { metrics_->kv_cache_bytes->Set(0); };
  DTRPO_ASSIGN_OR_RETURN(std::vector<trajectory::Trajectory> trajectories,
                         sampler->Sample(requests, [&] {
                           metrics_->kv_cache_bytes->Set(
                               static_cast<double>(sampler->statistics().cache_bytes));
                           return keep_going == nullptr || keep_going();
                         }));
  const diffusion::SampleStatistics& statistics = sampler->statistics();
  metrics_->forwards->Increment(static_cast<double>(statistics.forwards));
  if (statistics.forwards > 0) {
    metrics_->batch_fill_ratio->Observe(static_cast<double>(statistics.sequence_forwards) /
                                        static_cast<double>(statistics.forwards) /
                                        batch_.sequences);
  }
  auto next = std::make_move_iterator(trajectories.begin());
  for (size_t i = 0; i < tasks.size(); ++i) {
    const int32_t count = sampled.results[i].status.ok() ? SamplesOf(tasks[i]) : 0;
    sampled.samples.emplace_back(next, next + count);
    next += count;
  }
  return sampled;
}

std::vector<PromptResult> PromptSampler::Judge(SampledPrompts sampled,
                                               const std::function<bool()>& keep_going) const {
  std::vector<PromptResult>& results = sampled.results;
  std::vector<reward::Question> questions(sampled.tasks.size());
  std::vector<reward::AnsweredQuestion> items;
  for (size_t i = 0; i < sampled.tasks.size(); ++i) {
    text::Prompt& prompt = sampled.prompts[i];
    questions[i] = {prompt.id, std::move(prompt.text), std::move(prompt.answer),
                    sampled.tasks[i].prompt_json};
    for (trajectory::Trajectory& t : sampled.samples[i]) {
      absl::StatusOr<std::string> text = encoder_->Decode(AnswerTokens(t));
      if (text.ok()) t.text = *std::move(text);
      if (!text.ok()) results[i].status = text.status();
      items.push_back({&questions[i], {t.text, Finished(t), trajectory::TargetCount(t)}});
    }
  }
  reward::Judgements judgements = judge_->JudgeAll(items, keep_going);
  auto next = judgements.begin();
  for (size_t i = 0; i < sampled.tasks.size(); ++i) {
    if (!results[i].status.ok()) {
      next += static_cast<int64_t>(sampled.samples[i].size());
      continue;
    }
    PromptResult& result = results[i];
    if (absl::Status status = Finish(sampled.tasks[i], questions[i].expected,
                                     std::move(sampled.samples[i]), next, result);
        !status.ok()) {
      PromptResult failed;
      failed.status = std::move(status);
      failed.failed_samples = result.failed_samples;
      failed.sample_error = std::move(result.sample_error);
      result = std::move(failed);
      if (!absl::IsCancelled(result.status)) metrics_->judge_failures->Increment();
    }
    metrics_->generated_tokens->Increment(static_cast<double>(result.tokens));
    metrics_->samples->Increment(static_cast<double>(result.samples));
    metrics_->sequence_forwards->Increment(static_cast<double>(result.forwards));
    metrics_->failed_samples->Increment(static_cast<double>(result.failed_samples));
  }
  return results;
}

absl::Status PromptSampler::Finish(const PromptTask& task, const std::string& expected,
                                   std::vector<trajectory::Trajectory> samples,
                                   reward::Judgements::iterator& next, PromptResult& result) const {
  std::vector<trajectory::Trajectory> judged;
  std::vector<bool> right;
  absl::Status failure;
  for (trajectory::Trajectory& t : samples) {
    absl::StatusOr<reward::Judgement> judgement = std::move(*next++);
    const int64_t forwards = ForwardsOf(t);
    result.tokens += trajectory::TargetCount(t);
    result.forwards += forwards;
    if (!judgement.ok()) {
      failure = judgement.status();
      if (!absl::IsCancelled(failure)) {
        ++result.failed_samples;
        result.sample_error = std::string(failure.message());
      }
      continue;
    }
    metrics_->Judged(task.evaluate, judgement->correct, judgement->reward,
                     trajectory::TargetCount(t), forwards);
    t.reward = judgement->reward;
    t.reward_reason = std::move(judgement->reason);
    result.samples += 1;
    result.right_samples += judgement->correct ? 1 : 0;
    result.reward_sum += t.reward;
    right.push_back(judgement->correct);
    judged.push_back(std::move(t));
  }
  if (absl::IsCancelled(failure) || judged.size() < (task.evaluate ? 1 : 2)) return failure;
  if (OnlyEvaluates()) {
    DTRPO_RETURN_IF_ERROR(failure);
    result.correct = result.right_samples == result.samples;
    DTRPO_ASSIGN_OR_RETURN(result.kept.answer, ResultLines(task, judged, right));
    return absl::OkStatus();
  }
  if (task.evaluate) {
    const trajectory::Trajectory& t = judged.front();
    result.correct = right.front();
    if (task.keep_sample) {
      DTRPO_ASSIGN_OR_RETURN(result.kept.prompt, encoder_->Decode(t.prompt_tokens));
      DTRPO_ASSIGN_OR_RETURN(result.kept.denoising, Denoising(t));
      result.kept.answer = t.text;
      result.kept.expected = expected;
    }
    return absl::OkStatus();
  }
  metrics_->Answers(result.right_samples, result.samples)->Increment();
  int32_t number = 0;
  for (const reward::PairChoice& choice : reward::BuildPairs(judged, right, pair_options_)) {
    result.pairs.push_back({.id = trajectory::PairId(job_id_, task.epoch, task.prompt_index,
                                                     task.prompt_attempt, number++),
                            .chosen = judged[choice.chosen],
                            .rejected = judged[choice.rejected]});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> PromptSampler::ResultLines(
    const PromptTask& task, const std::vector<trajectory::Trajectory>& answers,
    const std::vector<bool>& right) const {
  DTRPO_ASSIGN_OR_RETURN(const evaluation::Question question,
                         evaluation::ParseQuestionLine(task.prompt_json, spec_.data.answer_field));
  const std::string unmask = SamplerParametersOf(spec_, /*evaluate=*/true).unmask;
  std::string lines;
  for (size_t i = 0; i < answers.size(); ++i) {
    DTRPO_ASSIGN_OR_RETURN(evaluation::JudgedAnswer answer,
                           evaluation::DescribeAnswer(answers[i], *encoder_));
    evaluation::FillQuestion(question, static_cast<int32_t>(i), unmask, answer);
    answer.correct = right[i];
    answer.reason = answers[i].reward_reason;
    lines += evaluation::ToJsonLine(answer);
  }
  return lines;
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

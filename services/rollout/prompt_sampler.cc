#include "services/rollout/prompt_sampler.h"

#include <iterator>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/evaluation/question.h"
#include "common/evaluation/sampled_answer.h"
#include "common/job/reward_terms.h"
#include "common/trajectory/ids.h"
#include "common/trajectory/state_at.h"

namespace dtrpo::rollout {
namespace {

// What evaluations are judged by: as dtrpo eval judges, or by the reward.
std::vector<reward::Term> EvaluationTerms(const job::JobSpec& spec) {
  const std::string verifier =
      evaluation::VerifierOf(spec.evaluation.verifier, spec.evaluation.layout);
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
                             std::unique_ptr<reward::Judge> rewards,
                             std::unique_ptr<reward::Judge> evaluations,
                             const RolloutRunMetrics* metrics, base::Clock* clock)
    : job_id_(std::move(job_id)),
      spec_(spec),
      descriptor_(descriptor),
      batch_(batch),
      encoder_(std::make_shared<const text::PromptEncoder>(std::move(encoder))),
      rewards_(std::move(rewards)),
      evaluations_(std::move(evaluations)),
      pair_options_{.pairing = *reward::ParsePairing(spec.reward.pairing),
                    .min_gap = spec.reward.min_gap,
                    .max_pairs = spec.reward.max_pairs_per_prompt},
      metrics_(metrics),
      clock_(clock) {}

absl::StatusOr<std::unique_ptr<PromptSampler>> PromptSampler::Create(
    std::string job_id, const job::JobSpec& spec, const checkpoint::ModelDescriptor& descriptor,
    const BatchLimits& batch, reward::RemoteReward* service, const RolloutRunMetrics* metrics,
    base::Clock* clock) {
  DTRPO_ASSIGN_OR_RETURN(text::PromptEncoder encoder,
                         text::PromptEncoder::Load(spec.model.path, spec.data.apply_chat_template));
  std::unique_ptr<reward::Judge> rewards;
  if (spec.kind == job::JobKind::kTrain) {
    DTRPO_ASSIGN_OR_RETURN(rewards, reward::Judge::Create(job::RewardTerms(spec.reward), service));
  }
  DTRPO_ASSIGN_OR_RETURN(std::unique_ptr<reward::Judge> evaluations,
                         reward::Judge::Create(EvaluationTerms(spec), service));
  return std::unique_ptr<PromptSampler>(
      new PromptSampler(std::move(job_id), spec, descriptor, batch, std::move(encoder),
                        std::move(rewards), std::move(evaluations), metrics, clock));
}

diffusion::SamplerOptions PromptSampler::Options(const PromptTask& task, int64_t version) const {
  diffusion::SamplerOptions options;
  options.parameters = SamplerParametersOf(spec_, task.evaluate);
  if (!task.unmask.empty()) options.parameters.unmask = task.unmask;
  options.weights_version = version;
  options.model_id = spec_.model.path;
  options.batch_sequences = batch_.sequences;
  options.max_cache_bytes = batch_.cache_bytes;
  return options;
}

std::string PromptSampler::TrajectoryId(const PromptTask& task, int64_t version,
                                        int32_t sample) const {
  if (!task.evaluate) {
    return trajectory::TrajectoryId(job_id_, task.epoch, task.prompt_index, task.prompt_attempt,
                                    sample);
  }
  // Without the attempt: the same answer whoever gives it, and however often.
  return trajectory::TrajectoryId(absl::StrCat(job_id_, "/evaluation-", version), 0,
                                  task.prompt_index, 0, sample);
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
  const PromptTask kind = tasks.empty() ? PromptTask() : tasks.front();
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<diffusion::BlockSampler> sampler,
                         diffusion::BlockSampler::Create(&policy, Options(kind, version)));
  const absl::Cleanup idle = [this] { metrics_->kv_cache_bytes->Set(0); };
  const absl::Time started = clock_->Now();
  DTRPO_ASSIGN_OR_RETURN(
      std::vector<trajectory::Trajectory> trajectories, sampler->Sample(requests, [&] {
        metrics_->kv_cache_bytes->Set(static_cast<double>(sampler->statistics().cache_bytes));
        return keep_going == nullptr || keep_going();
      }));
  sampled.seconds = absl::ToDoubleSeconds(clock_->Now() - started);
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
  int64_t tokens = 0;
  for (size_t i = 0; i < sampled.tasks.size(); ++i) {
    text::Prompt& prompt = sampled.prompts[i];
    questions[i] = {prompt.id, std::move(prompt.text), std::move(prompt.answer),
                    sampled.tasks[i].prompt_json};
    for (trajectory::Trajectory& t : sampled.samples[i]) {
      tokens += trajectory::TargetCount(t);
      absl::StatusOr<std::string> text = encoder_->Decode(evaluation::AnswerTokens(t));
      if (text.ok()) t.text = *std::move(text);
      if (!text.ok()) results[i].status = text.status();
      items.push_back(
          {&questions[i], {t.text, evaluation::Finished(t), trajectory::TargetCount(t)}});
    }
  }
  const bool evaluate = !sampled.tasks.empty() && sampled.tasks.front().evaluate;
  reward::Judgements judgements = (evaluate ? evaluations_ : rewards_)->JudgeAll(items, keep_going);
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
      failed.failures = std::move(result.failures);
      result = std::move(failed);
      if (!absl::IsCancelled(result.status)) metrics_->judge_failures->Increment();
    }
    if (tokens > 0) {
      result.sampling_seconds =
          sampled.seconds * static_cast<double>(result.tokens) / static_cast<double>(tokens);
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
    const int64_t forwards = evaluation::ForwardsOf(t);
    result.tokens += trajectory::TargetCount(t);
    result.forwards += forwards;
    if (!judgement.ok()) {
      failure = judgement.status();
      if (!absl::IsCancelled(failure)) {
        ++result.failed_samples;
        ++result.failures[std::string(failure.message())];
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
  if (task.evaluate) {
    DTRPO_RETURN_IF_ERROR(failure);
    const trajectory::Trajectory& t = judged.front();
    result.correct = right.front();
    if (OnlyEvaluates()) {
      DTRPO_ASSIGN_OR_RETURN(result.kept.answer, ResultLines(task, judged, right));
    } else if (task.keep_sample) {
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
  const std::string unmask = Options(task, 0).parameters.unmask;
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

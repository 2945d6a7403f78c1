#include "services/coordinator/evaluations.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace dtrpo::coordinator {
namespace {

// What a sample of a job of kind eval holds; nothing when one of the lines can't be read.
std::vector<evaluation::JudgedAnswer> AnswersIn(const v1::EvaluationSample& sample) {
  std::vector<evaluation::JudgedAnswer> answers;
  for (absl::string_view line : absl::StrSplit(sample.answer(), '\n', absl::SkipEmpty())) {
    absl::StatusOr<evaluation::JudgedAnswer> answer = evaluation::ParseAnswer(line);
    if (!answer.ok()) return {};
    answers.push_back(*std::move(answer));
  }
  return answers;
}

v1::EvaluationSample Shown(const v1::EvaluationSample& sample) {
  v1::EvaluationSample shown;
  const std::vector<evaluation::JudgedAnswer> answers = AnswersIn(sample);
  if (answers.empty()) return shown;
  shown.set_prompt(answers.front().question);
  shown.set_answer(answers.front().answer);
  shown.set_expected(answers.front().expected);
  shown.set_correct(answers.front().correct);
  return shown;
}

}  // namespace

void Evaluations::Begin(int64_t version, int64_t step, absl::Time now) {
  if (options_.prompts == 0 || evaluations_.count(version) > 0) return;
  Evaluation& evaluation = evaluations_[version];
  evaluation.record.set_version(version);
  evaluation.record.set_step(step);
  evaluation.record.set_prompts(PromptsAsked());
  evaluation.record.set_unix_ms(absl::ToUnixMillis(now));
  evaluation.prompts.resize(PromptsAsked());
  evaluation.waiting.resize(PromptsAsked());
  std::iota(evaluation.waiting.begin(), evaluation.waiting.end(), int64_t{0});
  evaluation.last_held = now;
}

void Evaluations::OnVersion(int64_t version, int64_t step, absl::Time now) {
  if (options_.every_versions > 0 && version % options_.every_versions == 0) {
    Begin(version, step, now);
  }
}

std::vector<EvaluationLease> Evaluations::Lease(absl::Time now, absl::string_view worker_id,
                                                int max,
                                                const std::vector<int64_t>& versions_held) {
  std::vector<EvaluationLease> leases;
  for (auto& [version, evaluation] : evaluations_) {
    if (evaluation.waiting.empty() || !evaluation.unfinished()) continue;
    if (std::find(versions_held.begin(), versions_held.end(), version) == versions_held.end()) {
      continue;
    }
    evaluation.last_held = now;
    while (!evaluation.waiting.empty() && static_cast<int>(leases.size()) < max) {
      const int64_t index = evaluation.waiting.front();
      evaluation.waiting.pop_front();
      Prompt& prompt = evaluation.prompts[index];
      prompt.state = Prompt::kLeased;
      prompt.lease_id = absl::StrCat("e", next_lease_++);
      prompt.worker_id = std::string(worker_id);
      prompt.expires = now + options_.lease;
      leases.push_back(
          {.lease_id = prompt.lease_id,
           .version = version,
           .prompt = index,
           .question = index % options_.prompts,
           .unmask = keeps_answers() ? options_.policies[index / options_.prompts] : "",
           .attempt = prompt.failures,
           .keep_sample = keeps_answers() || KeepsSample(index),
           .expires = prompt.expires});
    }
    if (!leases.empty())
      break;  // one version a call: the worker samples them with one set of weights
  }
  return leases;
}

bool Evaluations::Report(const v1::PromptResult& result, absl::Time now) {
  auto it = evaluations_.find(result.version());
  if (it == evaluations_.end() || !it->second.unfinished()) return false;
  Evaluation& evaluation = it->second;
  const int64_t index = result.prompt_index();
  if (index < 0 || index >= static_cast<int64_t>(evaluation.prompts.size())) return false;
  Prompt& prompt = evaluation.prompts[index];
  if (prompt.state == Prompt::kDone) return false;

  v1::EvaluationRecord& record = evaluation.record;
  const bool evaluated = result.outcome() == v1::PromptResult::EVALUATED;
  // From a program that doesn't know this kind of job, or that it has several policies.
  const bool incomplete = evaluated && keeps_answers() && !IsWhole(result);
  if (evaluated && !incomplete) {
    // Valid whoever made it: a finished answer at these weights is what was asked for.
    if (prompt.state == Prompt::kWaiting) std::erase(evaluation.waiting, index);
    prompt.state = Prompt::kDone;
    prompt.correct = std::clamp<int64_t>(result.correct(), 0, options_.samples);
    record.set_correct(record.correct() + prompt.correct);
    record.set_total(record.total() + options_.samples);
    evaluation.tokens += result.tokens();
    evaluation.forwards += result.forwards();
    if (evaluation.forwards > 0) {
      record.set_tokens_per_forward(static_cast<double>(evaluation.tokens) /
                                    static_cast<double>(evaluation.forwards));
    }
    if (result.has_sample()) evaluation.samples[index] = result.sample();
    if (keeps_answers()) {
      AddTo(PolicyOf(record, index / options_.prompts), result, options_.samples);
    }
  } else {
    // These free a lease, so they count only for the one that is running.
    if (prompt.state != Prompt::kLeased || prompt.lease_id != result.lease_id()) return false;
    const bool failed = incomplete || result.outcome() == v1::PromptResult::FAILED;
    if (failed && ++prompt.failures >= options_.max_failures) {
      prompt.state = Prompt::kDone;
      record.set_failed(record.failed() + 1);
    } else {
      Wait(evaluation, index);
    }
  }
  CompleteIfDone(evaluation, now);
  return true;
}

int Evaluations::Expire(absl::Time now) {
  int expired = 0;
  for (auto& [version, evaluation] : evaluations_) {
    if (!evaluation.unfinished()) continue;
    for (size_t i = 0; i < evaluation.prompts.size(); ++i) {
      const Prompt& prompt = evaluation.prompts[i];
      if (prompt.state != Prompt::kLeased || prompt.expires > now) continue;
      Wait(evaluation, static_cast<int64_t>(i));
      ++expired;
    }
  }
  return expired;
}

void Evaluations::RenewLeases(absl::Time now) {
  for (auto& [version, evaluation] : evaluations_) {
    evaluation.last_held = now;
    for (Prompt& prompt : evaluation.prompts) {
      if (prompt.state == Prompt::kLeased) prompt.expires = now + options_.lease;
    }
  }
}

std::vector<int64_t> Evaluations::GiveUp(const std::vector<int64_t>& versions) {
  std::vector<int64_t> given_up;
  for (int64_t version : versions) {
    auto it = evaluations_.find(version);
    if (it == evaluations_.end() || !it->second.unfinished()) continue;
    it->second.given_up = true;
    given_up.push_back(version);
  }
  return given_up;
}

int Evaluations::ReleaseWorker(absl::string_view worker_id) {
  int released = 0;
  for (auto& [version, evaluation] : evaluations_) {
    if (!evaluation.unfinished()) continue;
    for (size_t i = 0; i < evaluation.prompts.size(); ++i) {
      const Prompt& prompt = evaluation.prompts[i];
      if (prompt.state != Prompt::kLeased || prompt.worker_id != worker_id) continue;
      Wait(evaluation, static_cast<int64_t>(i));
      ++released;
    }
  }
  return released;
}

std::vector<int64_t> Evaluations::GiveUpUnheld(const std::set<int64_t>& held, absl::Time now) {
  const absl::Duration patience = options_.give_up_after * (held.empty() ? 10 : 1);
  std::vector<int64_t> given_up;
  for (auto& [version, evaluation] : evaluations_) {
    if (!evaluation.unfinished()) continue;
    if (held.count(version) > 0) {
      evaluation.last_held = now;
    } else if (now - evaluation.last_held > patience) {
      evaluation.given_up = true;
      given_up.push_back(version);
    }
  }
  return given_up;
}

std::vector<int64_t> Evaluations::PinnedVersions() const {
  std::vector<int64_t> pinned;
  for (const auto& [version, evaluation] : evaluations_) {
    if (evaluation.unfinished()) pinned.push_back(version);
  }
  return pinned;
}

const v1::EvaluationRecord* Evaluations::Find(int64_t version) const {
  auto it = evaluations_.find(version);
  return it == evaluations_.end() ? nullptr : &it->second.record;
}

std::vector<int64_t> Evaluations::UnfinishedSteps() const {
  std::vector<int64_t> steps;
  for (const auto& [version, evaluation] : evaluations_) {
    if (evaluation.unfinished()) steps.push_back(evaluation.record.step());
  }
  return steps;
}

Evaluations::Outcome Evaluations::outcome(int64_t version) const {
  auto it = evaluations_.find(version);
  if (it == evaluations_.end()) return Outcome::kNone;
  if (it->second.given_up) return Outcome::kGivenUp;
  return it->second.record.complete() ? Outcome::kComplete : Outcome::kRunning;
}

std::vector<v1::EvaluationRecord> Evaluations::Records() const {
  std::vector<v1::EvaluationRecord> records;
  for (const auto& [version, evaluation] : evaluations_) {
    records.push_back(evaluation.record);
    for (const auto& [index, sample] : evaluation.samples) {
      if (!keeps_answers()) {
        *records.back().add_samples() = sample;
      } else if (KeepsSample(index)) {
        *records.back().add_samples() = Shown(sample);
      }
    }
  }
  return records;
}

std::vector<evaluation::JudgedAnswer> Evaluations::Answers() const {
  std::vector<evaluation::JudgedAnswer> all;
  for (const auto& [version, evaluation] : evaluations_) {
    for (const auto& [index, sample] : evaluation.samples) {
      for (evaluation::JudgedAnswer& answer : AnswersIn(sample)) all.push_back(std::move(answer));
    }
  }
  return all;
}

std::map<std::string, evaluation::Timing> Evaluations::Timings() const {
  std::map<std::string, evaluation::Timing> timings;
  for (const auto& [version, evaluation] : evaluations_) {
    for (const v1::EvaluationPolicy& policy : evaluation.record.policies()) {
      timings[policy.unmask()] = {.seconds = policy.seconds(), .tokens = policy.timed_tokens()};
    }
  }
  return timings;
}

void Evaluations::ForgetAnswers() {
  for (auto& [version, evaluation] : evaluations_) {
    std::erase_if(evaluation.samples,
                  [&](const auto& sample) { return !KeepsSample(sample.first); });
  }
}

bool Evaluations::IsWhole(const v1::PromptResult& result) const {
  const std::vector<evaluation::JudgedAnswer> answers = AnswersIn(result.sample());
  const std::string& asked = options_.policies[result.prompt_index() / options_.prompts];
  return answers.size() == static_cast<size_t>(options_.samples) &&
         std::all_of(answers.begin(), answers.end(),
                     [&](const auto& answer) { return answer.unmask == asked; });
}

v1::EvaluationPolicy& Evaluations::PolicyOf(v1::EvaluationRecord& record, int64_t policy) const {
  for (size_t i = record.policies_size(); i < options_.policies.size(); ++i) {
    record.add_policies()->set_unmask(options_.policies[i]);
  }
  return *record.mutable_policies(static_cast<int>(policy));
}

void Evaluations::AddTo(v1::EvaluationPolicy& policy, const v1::PromptResult& result,
                        int32_t answers) {
  policy.set_answers(policy.answers() + answers);
  policy.set_tokens(policy.tokens() + result.tokens());
  policy.set_forwards(policy.forwards() + result.forwards());
  if (result.sampling_seconds() <= 0) return;
  policy.set_seconds(policy.seconds() + result.sampling_seconds());
  policy.set_timed_tokens(policy.timed_tokens() + result.tokens());
}

void Evaluations::AddEstimates(Evaluation& evaluation) const {
  const auto add = [&](const std::string& unmask, const evaluation::PassEstimate& pass) {
    v1::EvaluationEstimate& estimate = *evaluation.record.add_estimates();
    estimate.set_unmask(unmask);
    estimate.set_category(pass.category);
    estimate.set_k(pass.k);
    estimate.set_value(pass.estimate.value);
    estimate.set_low(pass.estimate.low);
    estimate.set_high(pass.estimate.high);
    estimate.set_questions(pass.questions);
  };
  if (keeps_answers()) {
    for (const auto& summary : evaluation::SummariseRun(Answers(), options_.pass_k, {})) {
      for (const evaluation::PassEstimate& pass : summary.estimates) add(summary.unmask, pass);
    }
    return;
  }
  std::vector<evaluation::QuestionScore> scores;
  for (const Prompt& prompt : evaluation.prompts) {
    if (prompt.correct < 0) continue;
    scores.push_back({"", {}, options_.samples, prompt.correct});
  }
  for (const auto& pass : evaluation::EstimatePass(scores, options_.pass_k)) add("", pass);
}

bool Evaluations::KeepsSample(int64_t prompt) const {
  // Of the first policy.
  const int64_t shown = std::min<int64_t>(options_.show_samples, options_.prompts);
  for (int64_t i = 0; i < shown; ++i) {
    if (i * options_.prompts / shown == prompt) return true;
  }
  return false;
}

void Evaluations::Wait(Evaluation& evaluation, int64_t prompt) {
  evaluation.prompts[prompt].state = Prompt::kWaiting;
  evaluation.waiting.push_back(prompt);
}

void Evaluations::CompleteIfDone(Evaluation& evaluation, absl::Time now) {
  v1::EvaluationRecord& record = evaluation.record;
  if (record.total() / options_.samples + record.failed() < record.prompts()) return;
  record.set_complete(true);
  record.set_tokens(evaluation.tokens);
  record.set_forwards(evaluation.forwards);
  record.set_answered(record.total() / options_.samples);
  AddEstimates(evaluation);
  record.set_unix_ms(absl::ToUnixMillis(now));
  evaluation.prompts.clear();
  evaluation.prompts.shrink_to_fit();
}

}  // namespace dtrpo::coordinator

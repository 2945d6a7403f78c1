#include "services/coordinator/evaluations.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"

namespace dtrpo::coordinator {

void Evaluations::Begin(int64_t version, int64_t step, absl::Time now) {
  if (options_.prompts == 0 || evaluations_.count(version) > 0) return;
  Evaluation& evaluation = evaluations_[version];
  evaluation.record.set_version(version);
  evaluation.record.set_step(step);
  evaluation.record.set_prompts(options_.prompts);
  evaluation.record.set_unix_ms(absl::ToUnixMillis(now));
  evaluation.prompts.resize(options_.prompts);
  evaluation.waiting.resize(options_.prompts);
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
          {prompt.lease_id, version, index, prompt.failures, KeepsSample(index), prompt.expires});
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
  if (result.outcome() == v1::PromptResult::EVALUATED) {
    // Valid whoever made it: a finished answer at these weights is what was asked for.
    if (prompt.state == Prompt::kWaiting) std::erase(evaluation.waiting, index);
    prompt.state = Prompt::kDone;
    record.set_correct(record.correct() + (result.correct() > 0 ? 1 : 0));
    record.set_total(record.total() + 1);
    evaluation.tokens += result.tokens();
    evaluation.forwards += result.forwards();
    if (evaluation.forwards > 0) {
      record.set_tokens_per_forward(static_cast<double>(evaluation.tokens) /
                                    static_cast<double>(evaluation.forwards));
    }
    if (result.has_sample()) evaluation.samples[index] = result.sample();
  } else {
    // These free a lease, so they count only for the one that is running.
    if (prompt.state != Prompt::kLeased || prompt.lease_id != result.lease_id()) return false;
    const bool failed = result.outcome() == v1::PromptResult::FAILED;
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
    for (const auto& [index, sample] : evaluation.samples) *records.back().add_samples() = sample;
  }
  return records;
}

bool Evaluations::KeepsSample(int64_t prompt) const {
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
  if (record.total() + record.failed() < record.prompts()) return;
  record.set_complete(true);
  record.set_unix_ms(absl::ToUnixMillis(now));
  evaluation.prompts.clear();
  evaluation.prompts.shrink_to_fit();
}

}  // namespace dtrpo::coordinator

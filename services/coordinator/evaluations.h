// Not thread-safe: belongs to the coordinator's lock. Time comes in as an argument.
//
// Evaluations of one job on its held-out prompts, each at one weights version: version 0 before
// training, then every N versions, then the final one. Rollouts that hold the version lease the
// prompts and report whether the answer was right; the first report about a prompt counts. An
// evaluation whose weights nobody holds any more is given up, visibly.
//
// A job of kind eval has one evaluation, at version 0, in which every question is asked once under
// each unmask policy: a prompt's index is that of the policy times the number of questions, plus
// that of the question. It keeps every answer until its results are written. Each report's sample
// then holds all answers to the question in `answer`, as lines of results.jsonl
// (common/evaluation/answer.h).
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/evaluation/answer.h"
#include "common/evaluation/run_summary.h"
#include "proto/dtrpo/v1/coordinator.pb.h"

namespace dtrpo::coordinator {

struct EvaluationLease {
  std::string lease_id;
  int64_t version = 0;
  int64_t prompt = 0;
  int64_t question = 0;  // index in the held-out prompts: `prompt` but in a job of kind eval
  std::string unmask;    // policy to answer with; empty: the job's
  int32_t attempt = 0;
  bool keep_sample = false;
  absl::Time expires;
};

class Evaluations {
 public:
  struct Options {
    int64_t prompts = 0;         // held-out prompts; 0: no evaluation ever
    int64_t every_versions = 0;  // 0: only those that Begin() asks for
    int32_t show_samples = 0;    // spread evenly over the prompts, the same ones each time
    absl::Duration lease = absl::Minutes(1);
    int32_t max_failures = 3;
    // The version is held by nobody for so long; ten times as long while no rollout holds anything
    // (they are loading).
    absl::Duration give_up_after = absl::Minutes(1);
    int32_t samples = 1;  // answers to each question
    std::vector<int32_t> pass_k = {1};
    std::vector<std::string> policies = {};  // of kind eval, which keeps its answers; else empty
  };
  explicit Evaluations(const Options& options) : options_(options) {}

  // Asks for an evaluation at `version`; no-op when there is one, or no held-out prompt.
  void Begin(int64_t version, int64_t step, absl::Time now);
  // A version was published: begins an evaluation if it is its turn.
  void OnVersion(int64_t version, int64_t step, absl::Time now);

  // The weights of `version` and later were replaced by others: what was measured of them is void.
  void ForgetFrom(int64_t version) {
    evaluations_.erase(evaluations_.lower_bound(version), evaluations_.end());
  }

  // Prompts of the oldest unfinished evaluation among `versions_held`.
  std::vector<EvaluationLease> Lease(absl::Time now, absl::string_view worker_id, int max,
                                     const std::vector<int64_t>& versions_held);

  // EVALUATED, FAILED or RETURNED. Repeating one changes nothing. Returns true when it counted.
  bool Report(const v1::PromptResult& result, absl::Time now);

  int Expire(absl::Time now);
  // As PromptLedger's.
  void RenewLeases(absl::Time now);
  int ReleaseWorker(absl::string_view worker_id);
  // `held` are the versions that live rollouts hold. Gives up evaluations whose version none has
  // held for give_up_after; returns those versions.
  std::vector<int64_t> GiveUpUnheld(const std::set<int64_t>& held, absl::Time now);

  // Gives up those of `versions` that are unfinished; returns them.
  std::vector<int64_t> GiveUp(const std::vector<int64_t>& versions);

  // Of unfinished evaluations: rollouts must not let go of them.
  std::vector<int64_t> PinnedVersions() const;
  bool HasUnfinished() const { return !PinnedVersions().empty(); }
  enum class Outcome { kNone, kRunning, kComplete, kGivenUp };
  Outcome outcome(int64_t version) const;
  // Null: there is none.
  const v1::EvaluationRecord* Find(int64_t version) const;
  // Of the unfinished ones.
  std::vector<int64_t> UnfinishedSteps() const;
  // By version.
  std::vector<v1::EvaluationRecord> Records() const;
  // Of a job of kind eval: all of what didn't fail, by policy, then question, as asked.
  std::vector<evaluation::JudgedAnswer> Answers() const;
  std::map<std::string, evaluation::Timing> Timings() const;  // by policy
  // All but those that are shown.
  void ForgetAnswers();

  template <typename Archive>
  void Kept(Archive& archive) {
    archive(evaluations_, next_lease_);
  }

 private:
  struct Prompt {
    enum { kWaiting, kLeased, kDone } state = kWaiting;
    std::string lease_id;
    std::string worker_id;
    absl::Time expires;
    int32_t failures = 0;
    int64_t correct = -1;  // answers, once it is judged

    template <typename Archive>
    void Kept(Archive& archive) {
      archive(state, lease_id, worker_id, expires, failures, correct);
    }
  };
  struct Evaluation {
    v1::EvaluationRecord record;
    int64_t tokens = 0;
    int64_t forwards = 0;
    std::vector<Prompt> prompts;
    std::deque<int64_t> waiting;  // exactly the kWaiting ones
    std::map<int64_t, v1::EvaluationSample> samples;
    absl::Time last_held;
    bool given_up = false;

    template <typename Archive>
    void Kept(Archive& archive) {
      archive(record, tokens, forwards, prompts, waiting, samples, last_held, given_up);
    }
    bool unfinished() const { return !record.complete() && !given_up; }
  };

  bool keeps_answers() const { return !options_.policies.empty(); }
  int64_t PromptsAsked() const {
    return options_.prompts * std::max<int64_t>(1, options_.policies.size());
  }
  bool KeepsSample(int64_t prompt) const;
  // All answers to the prompt under its policy, none of them missing.
  bool IsWhole(const v1::PromptResult& result) const;
  v1::EvaluationPolicy& PolicyOf(v1::EvaluationRecord& record, int64_t policy) const;
  static void AddTo(v1::EvaluationPolicy& policy, const v1::PromptResult& result, int32_t answers);
  void AddEstimates(Evaluation& evaluation) const;
  static void Wait(Evaluation& evaluation, int64_t prompt);
  void CompleteIfDone(Evaluation& evaluation, absl::Time now);

  const Options options_;
  std::map<int64_t, Evaluation> evaluations_;  // by version
  uint64_t next_lease_ = 1;
};

}  // namespace dtrpo::coordinator

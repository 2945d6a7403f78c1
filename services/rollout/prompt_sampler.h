// Thread safety: one thread at a time.
//
// What a rollout does with leased prompts: encode, sample, decode, judge, pair. One call takes
// prompts of one kind, weights version and policy, so that they share forwards. Judge() may run on
// another thread than Sample(), so that a reward service's answers needn't be waited for between
// two rounds of forwards.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/clock.h"
#include "common/checkpoint/model_descriptor.h"
#include "common/diffusion/block_sampler.h"
#include "common/job/job_spec.h"
#include "common/model/transformer.h"
#include "common/reward/judge.h"
#include "common/reward/pair_builder.h"
#include "common/text/prompt_encoder.h"
#include "common/text/prompt_file.h"
#include "common/trajectory/trajectory.h"
#include "services/rollout/rollout_metrics.h"

namespace dtrpo::rollout {

struct PromptTask {
  // The evaluation's answers, judged; else G samples and their pairs.
  bool evaluate = false;
  std::string unmask;  // evaluate: the policy; empty: the job's
  int64_t epoch = 0;
  int64_t prompt_index = 0;
  int32_t prompt_attempt = 0;
  std::string prompt_json;  // the line of the data file
  bool keep_sample = false;
};

struct KeptSample {
  std::string prompt, answer, expected;
  // Of a job of kind eval only `answer` is set: all answers, as lines of results.jsonl.
  std::vector<std::string> denoising;  // the answer's canvas after each step; masks as kMaskSign
};

struct PromptResult {
  absl::Status status;  // not OK: the prompt couldn't be sampled or judged, and nothing else is set
  std::vector<trajectory::PreferencePair> pairs;
  int64_t samples = 0;                      // that have a reward
  int64_t right_samples = 0;                // of these
  int64_t failed_samples = 0;               // put aside: their reward failed
  std::map<std::string, int64_t> failures;  // of these, by reason
  int64_t tokens = 0;                       // targets of all samples
  int64_t forwards = 0;                     // its sequences' share of forwards (NFE)
  double sampling_seconds = 0;              // its share, by tokens, of what Sample() took
  double reward_sum = 0;
  bool correct = false;  // evaluate: the first one
  KeptSample kept;       // keep_sample
};

// What was sampled and isn't judged yet.
struct SampledPrompts {
  std::vector<PromptTask> tasks;
  std::vector<text::Prompt> prompts;                         // of each task
  std::vector<std::vector<trajectory::Trajectory>> samples;  // of each task
  std::vector<PromptResult> results;                         // status: of what can't be sampled
  double seconds = 0;                                        // that Sample() took
};

inline constexpr char kMaskSign[] = "░";

// How the job's prompts are sampled.
trajectory::SamplerParameters SamplerParametersOf(const job::JobSpec& spec, bool evaluate);

// What shares the engine's forwards and its cache.
struct BatchLimits {
  int32_t sequences = 64;
  int64_t cache_bytes = int64_t{4} << 30;  // keys and values
};

class PromptSampler {
 public:
  // Everything passed in outlives the sampler; `service` is null for a job that asks none.
  // INVALID_ARGUMENT naming what in the job makes no sense.
  static absl::StatusOr<std::unique_ptr<PromptSampler>> Create(
      std::string job_id, const job::JobSpec& spec, const checkpoint::ModelDescriptor& descriptor,
      const BatchLimits& batch, reward::RemoteReward* service, const RolloutRunMetrics* metrics,
      base::Clock* clock = base::RealClock());

  const std::shared_ptr<const text::PromptEncoder>& encoder() const { return encoder_; }

  // CANCELLED when keep_going says no.
  absl::StatusOr<SampledPrompts> Sample(const model::Transformer& policy, int64_t version,
                                        absl::Span<const PromptTask> tasks,
                                        const std::function<bool()>& keep_going);
  // One result per task, in order; CANCELLED those that were under way when keep_going said no. A
  // sample whose reward fails is put aside; a prompt fails when too few are left: below two, or one
  // of an evaluation. Thread safety: may run beside everything else.
  std::vector<PromptResult> Judge(SampledPrompts sampled,
                                  const std::function<bool()>& keep_going) const;

  // Judge() takes its time, without using the cores.
  bool asks_service() const {
    return evaluations_->asks_service() || (rewards_ != nullptr && rewards_->asks_service());
  }

 private:
  PromptSampler(std::string job_id, const job::JobSpec& spec,
                const checkpoint::ModelDescriptor& descriptor, const BatchLimits& batch,
                text::PromptEncoder encoder, std::unique_ptr<reward::Judge> rewards,
                std::unique_ptr<reward::Judge> evaluations, const RolloutRunMetrics* metrics,
                base::Clock* clock);

  diffusion::SamplerOptions Options(const PromptTask& task, int64_t version) const;
  int32_t SamplesOf(const PromptTask& task) const {
    return task.evaluate ? spec_.evaluation.samples : spec_.sampling.samples_per_prompt;
  }
  bool OnlyEvaluates() const { return spec_.kind == job::JobKind::kEval; }
  std::string TrajectoryId(const PromptTask& task, int64_t version, int32_t sample) const;
  // Takes the judgements, from `next` on, of one prompt's samples, and builds its pairs.
  absl::Status Finish(const PromptTask& task, const std::string& expected,
                      std::vector<trajectory::Trajectory> samples,
                      reward::Judgements::iterator& next, PromptResult& result) const;
  // The line of results.jsonl for each answer.
  absl::StatusOr<std::string> ResultLines(const PromptTask& task,
                                          const std::vector<trajectory::Trajectory>& answers,
                                          const std::vector<bool>& right) const;
  absl::StatusOr<std::vector<std::string>> Denoising(const trajectory::Trajectory& t) const;

  const std::string job_id_;
  const job::JobSpec spec_;
  const checkpoint::ModelDescriptor descriptor_;
  const BatchLimits batch_;
  const std::shared_ptr<const text::PromptEncoder> encoder_;
  const std::unique_ptr<reward::Judge> rewards_;  // null in a job of kind eval
  const std::unique_ptr<reward::Judge> evaluations_;
  const reward::PairOptions pair_options_;
  const RolloutRunMetrics* const metrics_;
  base::Clock* const clock_;
};

}  // namespace dtrpo::rollout

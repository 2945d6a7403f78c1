// Thread safety: one thread at a time.
//
// What a rollout does with leased prompts, without any network: encode, sample, decode, judge,
// pair. One call takes prompts of one kind and one weights version, so that they share forwards.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/checkpoint/model_descriptor.h"
#include "common/diffusion/block_sampler.h"
#include "common/job/job_spec.h"
#include "common/model/transformer.h"
#include "common/reward/verifier.h"
#include "common/text/prompt_encoder.h"
#include "common/trajectory/trajectory.h"
#include "services/rollout/rollout_metrics.h"

namespace dtrpo::rollout {

struct PromptTask {
  bool evaluate = false;  // one greedy answer, judged; else G samples and their pairs
  int64_t epoch = 0;
  int64_t prompt_index = 0;
  int32_t prompt_attempt = 0;
  std::string prompt_json;  // the line of the data file
  bool keep_sample = false;
};

struct KeptSample {
  std::string prompt, answer, expected;
  std::vector<std::string> denoising;  // the answer's canvas after each step; masks as kMaskSign
};

struct PromptResult {
  absl::Status status;  // not OK: the prompt couldn't be sampled or judged, and nothing else is set
  std::vector<trajectory::PreferencePair> pairs;
  int64_t samples = 0;
  int64_t tokens = 0;    // targets
  int64_t forwards = 0;  // its sequences' share of forwards (NFE)
  double reward_sum = 0;
  bool correct = false;  // evaluate
  KeptSample kept;       // keep_sample
};

inline constexpr char kMaskSign[] = "░";

// How the job's prompts are sampled; evaluations greedily.
trajectory::SamplerParameters SamplerParametersOf(const job::JobSpec& spec, bool evaluate);

// What shares the engine's forwards and its cache.
struct BatchLimits {
  int32_t sequences = 64;
  int64_t cache_bytes = int64_t{4} << 30;  // keys and values
};

class PromptSampler {
 public:
  // Everything passed in outlives the sampler. INVALID_ARGUMENT naming what in the job makes no
  // sense.
  static absl::StatusOr<std::unique_ptr<PromptSampler>> Create(
      std::string job_id, const job::JobSpec& spec, const checkpoint::ModelDescriptor& descriptor,
      const BatchLimits& batch, const RolloutMetrics* metrics);

  const std::shared_ptr<const text::PromptEncoder>& encoder() const { return encoder_; }

  // One result per task, in order. CANCELLED when keep_going says no.
  absl::StatusOr<std::vector<PromptResult>> Run(const model::Transformer& policy, int64_t version,
                                                absl::Span<const PromptTask> tasks,
                                                const std::function<bool()>& keep_going);

 private:
  PromptSampler(std::string job_id, const job::JobSpec& spec,
                const checkpoint::ModelDescriptor& descriptor, const BatchLimits& batch,
                text::PromptEncoder encoder, std::unique_ptr<reward::Verifier> verifier,
                const RolloutMetrics* metrics);

  diffusion::SamplerOptions Options(bool evaluate, int64_t version) const;
  int32_t SamplesOf(const PromptTask& task) const {
    return task.evaluate ? 1 : spec_.sampling.samples_per_prompt;
  }
  std::string TrajectoryId(const PromptTask& task, int64_t version, int32_t sample) const;
  // Decodes and judges the samples of one prompt, and builds its pairs.
  absl::Status Judge(const PromptTask& task, const std::string& expected,
                     std::vector<trajectory::Trajectory> samples, PromptResult& result) const;
  absl::StatusOr<std::vector<std::string>> Denoising(const trajectory::Trajectory& t) const;

  const std::string job_id_;
  const job::JobSpec spec_;
  const checkpoint::ModelDescriptor descriptor_;
  const BatchLimits batch_;
  const std::shared_ptr<const text::PromptEncoder> encoder_;
  const std::unique_ptr<reward::Verifier> verifier_;
  const RolloutMetrics* const metrics_;
};

}  // namespace dtrpo::rollout

// Thread safety: one thread at a time.
//
// What a rollout does, without services: samples answers to prompts, judges them and pairs them up.
// A pure function of the options, the sampling model and the iteration.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/model/transformer.h"
#include "common/reward/verifier.h"
#include "common/text/prompt_encoder.h"
#include "common/text/prompt_file.h"
#include "common/training/sft_order.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::tools {

class SampledPairs {
 public:
  struct Options {
    trajectory::SamplerParameters parameters;  // temperature > 0
    std::string verifier = "exact";
    int32_t batch = 256;             // sequences that share a forward at most
    int32_t prompts = 32;            // of an iteration
    int32_t samples_per_prompt = 8;  // G
    int32_t max_pairs_per_prompt = 2;
    uint64_t seed = 1;
  };

  // `prompts` have answers; they and the encoder outlive this.
  static absl::StatusOr<std::unique_ptr<SampledPairs>> Create(
      const std::vector<text::Prompt>* prompts, const text::PromptEncoder* encoder,
      const Options& options);

  // Pairs of the next prompts in the seed's order, none for prompts whose answers are all right or
  // all wrong. `version` names the sampling weights.
  absl::StatusOr<std::vector<trajectory::PreferencePair>> Next(const model::Transformer& sampling,
                                                               int64_t version);

 private:
  SampledPairs(const std::vector<text::Prompt>* prompts, const text::PromptEncoder* encoder,
               const Options& options, std::unique_ptr<reward::Verifier> verifier);

  const std::vector<text::Prompt>* const prompts_;
  const text::PromptEncoder* const encoder_;
  const Options options_;
  const std::unique_ptr<reward::Verifier> verifier_;
  training::SftOrder order_;
  int64_t used_ = 0;
};

}  // namespace dtrpo::tools

// Thread safety: one thread.
//
// One training of the comparison: rollouts, reference, learner and evaluation in turn, in one
// process and without services, so that runs differ in nothing but what they compare.
//
// Staleness S: the sampling weights are those of every S-th version only, so with S = 32 answers
// are 0 to 31 versions old. Prompts are new in each iteration.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/job/job_spec.h"
#include "common/text/prompt_encoder.h"
#include "common/text/prompt_file.h"
#include "tools/dtrpo/compare/objective_cost.h"
#include "tools/dtrpo/compare/sampled_pairs.h"
#include "tools/dtrpo/model_options.h"

namespace dtrpo::tools {

struct RunResult {
  std::vector<std::pair<int64_t, double>> accuracy;  // held out: after how many iterations, value
  int64_t pairs = 0;
  double train_seconds = 0;  // reference and learner
  double total_seconds = 0;
  PairCost cost;           // of the last iteration's pairs
  EstimatorSpread spread;  // of the trained policy, on those
};

struct RunInputs {
  ModelOptions model;  // threads: 0, they are set already
  job::JobSpec spec;   // seed, objective and training count; training.steps iterations
  SampledPairs::Options sampling;
  int64_t staleness = 1;        // S >= 1
  int64_t evaluate_every = 20;  // iterations; 0: at the end only
  int32_t variance_draws = 16;
  const std::vector<text::Prompt>* prompts = nullptr;
  const text::PromptEncoder* encoder = nullptr;
  const model::Transformer* reference = nullptr;
  std::function<absl::StatusOr<double>(const model::Transformer&)> evaluate;
  // After each iteration: how many were made, and the last accuracy.
  std::function<void(int64_t, double)> progress;
};

absl::StatusOr<RunResult> RunObjective(const RunInputs& inputs);

}  // namespace dtrpo::tools

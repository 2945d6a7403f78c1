// Thread safety: one thread. The options of `dtrpo train`: those of a job that make sense without
// services, under the job's own names and defaults (docs/job.md).
#pragma once

#include <cstdint>
#include <string>

#include "CLI/CLI.hpp"
#include "common/checkpoint/shards.h"
#include "common/job/job_spec.h"
#include "tools/dtrpo/model_options.h"

namespace dtrpo::tools {

struct TrainOptions {
  ModelOptions model;
  std::string output_path;
  std::string rejects_path;  // empty: beside the output
  bool raw_prompts = false;
  bool restart = false;
  int64_t heldout_pairs = 256;  // evaluated at most; 0: all
  int64_t evaluate_every = 50;  // steps; 0: before and after only
  std::string objective = "dtrpo";
  std::string loss = "sigmoid";
  std::string weighting = "steps";
  std::string schedule = "linear";
  int64_t max_shard_bytes = checkpoint::kDefaultShardBytes;
  job::JobSpec job;

  TrainOptions();
  // Defaults that depend on other options, and words as the job has them.
  void Resolve();
};

void AddTrainOptions(CLI::App* app, TrainOptions* options);

}  // namespace dtrpo::tools

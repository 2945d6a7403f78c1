// Thread safety: plain data; MakeToyTask() is called once per folder.
//
// A task that a model of 28,000 parameters learns within seconds: whatever the prompt, answer
// "blue". The base model was shown "red" half of the time and "blue" and "green" a quarter each, so
// that its samples are sometimes right (pairs exist), and its greedy answer is wrong (there is
// something to learn). Answers are 3 to 5 tokens and a stop token, prompts end at every place of
// a block of 4: several steps, several blocks.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "proto/dtrpo/v1/job.pb.h"

namespace dtrpo::support {

struct ToyTask {
  std::string folder;

  std::string base() const { return folder + "/base"; }
  std::string prompts() const { return folder + "/train.jsonl"; }
  std::string heldout() const { return folder + "/heldout.jsonl"; }

  // A complete job with outputs under folder/NAME. 60 steps at this rate take about 4 s.
  v1::JobSpec Job(const std::string& name, int64_t steps = 60, double learning_rate = 5e-4) const;
};

// Steps of `dtrpo sft` that make the base model described above, in about 2 s. After a single one
// it is a model like any other, but its answers are noise.
inline constexpr int kToyBaseSteps = 150;

// `bin_dir` holds our programs, `source_dir` is the repository (for the example's tokenizer).
// `family`: fast_dllm_v2, sdar, llada or dream (model_descriptor.h).
absl::StatusOr<ToyTask> MakeToyTask(const std::string& folder, const std::string& bin_dir,
                                    const std::string& source_dir, int base_steps = kToyBaseSteps,
                                    const std::string& family = "fast_dllm_v2");

}  // namespace dtrpo::support

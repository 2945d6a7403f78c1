// Thread safety: one thread. `dtrpo generate`: samples completions of prompts and writes their
// trajectories as JSONL, in the order of the prompts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/diffusion/block_sampler.h"
#include "common/text/prompt_file.h"
#include "tools/dtrpo/model_options.h"
#include "tools/dtrpo/subcommand.h"

namespace dtrpo::tools {

class GenerateCommand : public Subcommand {
 public:
  const char* name() const override { return "generate"; }
  const char* summary() const override { return "sample completions of prompts"; }
  void AddOptions(CLI::App* app) override;
  absl::Status CheckOptions() const override;
  absl::Status Run() override;

 private:
  std::vector<diffusion::SampleRequest> MakeRequests(
      const std::vector<text::Prompt>& prompts) const;

  ModelOptions model_;
  std::string prompts_path_;
  std::string output_path_;
  trajectory::SamplerParameters parameters_;
  bool greedy_first_token_ = false;
  bool raw_prompts_ = false;
  int32_t samples_ = 1;
  uint64_t seed_ = 1;
  int32_t batch_ = 64;
};

}  // namespace dtrpo::tools

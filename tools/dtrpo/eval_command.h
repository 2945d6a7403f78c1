// Thread safety: one thread. `dtrpo eval`: accuracy of a model's greedy answers.
#pragma once

#include <cstdint>
#include <string>

#include "tools/dtrpo/answer_evaluation.h"
#include "tools/dtrpo/model_options.h"
#include "tools/dtrpo/subcommand.h"

namespace dtrpo::tools {

class EvalCommand : public Subcommand {
 public:
  const char* name() const override { return "eval"; }
  const char* summary() const override { return "share of prompts that greedy answers get right"; }
  void AddOptions(CLI::App* app) override;
  absl::Status Run() override;

 private:
  ModelOptions model_;
  EvaluationOptions evaluation_;
  std::string data_path_;
  std::string output_path_;  // empty: no file
  std::string answer_field_ = "answer";
  int64_t limit_ = 0;
  bool raw_prompts_ = false;
};

}  // namespace dtrpo::tools

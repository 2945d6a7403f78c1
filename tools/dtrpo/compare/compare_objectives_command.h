// Thread safety: one thread. `dtrpo compare-objectives`: trains objectives from the same base, data
// and seeds, and prints what each costs and achieves.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tools/dtrpo/answer_evaluation.h"
#include "tools/dtrpo/compare/comparison_file.h"
#include "tools/dtrpo/compare/objective_run.h"
#include "tools/dtrpo/model_options.h"
#include "tools/dtrpo/subcommand.h"

namespace dtrpo::tools {

class CompareObjectivesCommand : public Subcommand {
 public:
  CompareObjectivesCommand();
  const char* name() const override { return "compare-objectives"; }
  const char* summary() const override {
    return "train preference objectives side by side on prompts with answers";
  }
  void AddOptions(CLI::App* app) override;
  absl::Status Run() override;

 private:
  void AddRunOptions(CLI::App* app);
  void AddTrainingOptions(CLI::App* app);
  // Every combination that was asked for, by seed first: what can be compared is there early.
  std::vector<RunKey> Keys() const;
  // What all runs share; runs of other settings are left alone.
  std::string Settings() const;
  job::JobSpec SpecOf(const RunKey& key) const;
  absl::StatusOr<RunRecord> RunOne(const RunKey& key, const RunInputs& shared) const;

  ModelOptions model_;
  std::string prompts_path_;
  std::string heldout_path_;
  std::string output_path_;
  std::string answer_field_ = "answer";
  bool raw_prompts_ = false;
  std::vector<std::string> objectives_;
  std::vector<int64_t> staleness_ = {1};
  std::vector<std::string> corrections_ = {"on"};
  std::vector<uint64_t> seeds_ = {1};
  job::JobSpec spec_;
  int32_t vrpo_draws_ = 8;
  SampledPairs::Options sampling_;
  int64_t evaluate_every_ = 20;
  int64_t evaluate_prompts_ = 0;
  int32_t variance_draws_ = 16;
  EvaluationOptions evaluation_;
};

}  // namespace dtrpo::tools

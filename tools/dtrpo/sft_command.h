// Thread safety: one thread. `dtrpo sft`: supervised fine-tuning on prompts with answers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/dtrpo/sft_loss.h"
#include "common/training/sft_trainer.h"
#include "tools/dtrpo/answer_evaluation.h"
#include "tools/dtrpo/model_options.h"
#include "tools/dtrpo/subcommand.h"

namespace dtrpo::tools {

class SftCommand : public Subcommand {
 public:
  const char* name() const override { return "sft"; }
  const char* summary() const override { return "supervised fine-tuning on prompts with answers"; }
  void AddOptions(CLI::App* app) override;
  absl::Status CheckOptions() const override;
  absl::Status Run() override;

 private:
  void AddHeldoutOptions(CLI::App* app);
  absl::StatusOr<ModelToTrain> Load() const;
  absl::StatusOr<std::vector<objective::SftExample>> ReadExamples(
      const checkpoint::CheckpointFolder& folder, const text::PromptEncoder& encoder) const;
  // Null without --heldout.
  absl::StatusOr<std::unique_ptr<AnswerEvaluator>> MakeEvaluator(
      const checkpoint::CheckpointFolder& folder, const text::PromptEncoder& encoder) const;

  ModelOptions model_;
  std::string init_ = "weights";
  std::string data_path_;
  std::string output_path_;
  int64_t max_shard_bytes_ = checkpoint::kDefaultShardBytes;
  std::string answer_field_ = "answer";
  std::string boundary_ = "clean";
  bool raw_prompts_ = false;
  training::SftOptions training_;
  job::JobSpec parts_;        // what is trained
  std::string heldout_path_;  // empty: no evaluation
  int64_t evaluate_prompts_ = 0;
  EvaluationOptions evaluation_;
};

}  // namespace dtrpo::tools

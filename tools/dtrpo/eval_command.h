// Thread safety: one thread. `dtrpo eval`: accuracy of a model's answers, and what generating them
// took.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/evaluation/question.h"
#include "common/evaluation/run_folder.h"
#include "common/reward/judge.h"
#include "common/rpc/channel_factory.h"
#include "nlohmann/json.hpp"
#include "tools/dtrpo/answer_evaluation.h"
#include "tools/dtrpo/model_options.h"
#include "tools/dtrpo/subcommand.h"

namespace dtrpo::tools {

class EvalCommand : public Subcommand {
 public:
  const char* name() const override { return "eval"; }
  const char* summary() const override {
    return "accuracy of a model's answers, and what generating them takes";
  }
  void AddOptions(CLI::App* app) override;
  absl::Status CheckOptions() const override;
  absl::Status Run() override;

 private:
  absl::StatusOr<std::vector<evaluation::Question>> ReadData() const;
  // What a run that goes on must ask for again.
  nlohmann::ordered_json Settings(const std::vector<evaluation::Question>& questions) const;
  std::vector<std::string> Policies() const;
  std::string Verifier() const;
  // Null where the verifier needs none.
  absl::StatusOr<std::unique_ptr<reward::RemoteReward>> RemoteReward(
      rpc::ChannelFactory& channels) const;

  ModelOptions model_;
  EvaluationOptions evaluation_;
  evaluation::QuestionOptions questions_;
  std::string data_path_;
  std::string template_path_;
  std::string run_path_;  // empty: nothing is kept
  std::string reward_service_;
  std::vector<double> thresholds_;
  std::vector<int32_t> pass_k_;
  int32_t samples_ = 1;
  uint64_t seed_ = 1;
  int64_t limit_ = 0;
  bool raw_prompts_ = false;
};

}  // namespace dtrpo::tools

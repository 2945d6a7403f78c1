// Thread safety: one thread. `dtrpo compare`: two runs of `dtrpo eval`, question by question.
#pragma once

#include <cstdint>
#include <string>

#include "tools/dtrpo/subcommand.h"

namespace dtrpo::tools {

class CompareCommand : public Subcommand {
 public:
  const char* name() const override { return "compare"; }
  const char* summary() const override { return "two evaluations on the same questions"; }
  void AddOptions(CLI::App* app) override;
  absl::Status CheckOptions() const override;
  absl::Status Run() override;

 private:
  std::string run_a_, run_b_;
  std::string unmask_a_, unmask_b_;
  std::string output_path_;
  uint64_t seed_ = 1;
};

}  // namespace dtrpo::tools

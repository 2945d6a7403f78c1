// Thread safety: one thread. `dtrpo report`: what a job did, for people and for scripts.
#pragma once

#include <string>

#include "tools/dtrpo/subcommand.h"

namespace dtrpo::tools {

class ReportCommand : public Subcommand {
 public:
  const char* name() const override { return "report"; }
  const char* summary() const override { return "a job's curves and answers as HTML and JSON"; }
  void AddOptions(CLI::App* app) override;
  absl::Status Run() override;

 private:
  std::string job_path_;
  std::string output_path_;
};

}  // namespace dtrpo::tools

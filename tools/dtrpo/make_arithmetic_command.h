// Thread safety: one thread. `dtrpo make-arithmetic`: the data of the example task.
#pragma once

#include <string>

#include "tools/dtrpo/subcommand.h"

namespace dtrpo::tools {

class MakeArithmeticCommand : public Subcommand {
 public:
  const char* name() const override { return "make-arithmetic"; }
  const char* summary() const override { return "write the data of the example task, addition"; }
  void AddOptions(CLI::App* app) override;
  absl::Status Run() override;

 private:
  std::string output_path_;
  bool words_ = false;
};

}  // namespace dtrpo::tools

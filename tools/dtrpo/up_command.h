// Thread safety: one thread. `dtrpo up`: the whole system on this machine.
#pragma once

#include <string>

#include "tools/dtrpo/subcommand.h"

namespace dtrpo::tools {

class UpCommand : public Subcommand {
 public:
  const char* name() const override { return "up"; }
  const char* summary() const override { return "start all services on this machine"; }
  void AddOptions(CLI::App* app) override;
  absl::Status Run() override;

 private:
  std::string dir_ = "dtrpo-run";
  int rollouts_ = 1;
  int replay_shards_ = 1;
  bool fresh_ = false;
  int cores_ = 0;
  int port_ = 7070;
  std::string log_level_ = "info";
  bool tls_ = false;
};

}  // namespace dtrpo::tools

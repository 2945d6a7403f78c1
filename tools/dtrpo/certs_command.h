// Thread safety: one thread. `dtrpo certs`: certificates for a development system.
#pragma once

#include <string>
#include <vector>

#include "tools/dtrpo/subcommand.h"

namespace dtrpo::tools {

class CertsCommand : public Subcommand {
 public:
  const char* name() const override { return "certs"; }
  const char* summary() const override {
    return "make a development CA and a certificate for each role";
  }
  void AddOptions(CLI::App* app) override;
  absl::Status Run() override;

 private:
  std::string dir_ = "dtrpo-certs";
  std::vector<std::string> roles_;
  std::vector<std::string> hosts_;
  double days_ = 30;
  double authority_days_ = 365;
};

}  // namespace dtrpo::tools

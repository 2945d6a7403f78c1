// Thread safety: one thread. One subcommand of `dtrpo`: its options, and what it does with them.
#pragma once

#include "CLI/CLI.hpp"
#include "absl/status/status.h"

namespace dtrpo::tools {

class Subcommand {
 public:
  virtual ~Subcommand() = default;

  virtual const char* name() const = 0;
  virtual const char* summary() const = 0;  // one line of `dtrpo --help`

  // Declares the options, bound to members. `app` lives as long as this object.
  virtual void AddOptions(CLI::App* app) = 0;

  // After parsing: options that don't fit together. A message is a usage error (exit code 2).
  virtual absl::Status CheckOptions() const { return absl::OkStatus(); }

  // Does the work. A message ends the program with exit code 1.
  virtual absl::Status Run() = 0;
};

}  // namespace dtrpo::tools

// The `dtrpo` command line called in this process, as scripts call it.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tools/dtrpo/cli.h"

namespace dtrpo::tools {

struct Outcome {
  int exit_code = 0;
  std::string out, err;
};

inline Outcome Dtrpo(const std::vector<std::string>& arguments) {
  std::vector<const char*> argv = {"dtrpo"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  Outcome outcome;
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  outcome.exit_code = RunCli(static_cast<int>(argv.size()), argv.data());
  outcome.err = ::testing::internal::GetCapturedStderr();
  outcome.out = ::testing::internal::GetCapturedStdout();
  return outcome;
}

}  // namespace dtrpo::tools

// Not thread-safe: one command line per process. The spelling of `dtrpoctl generate`.
#pragma once

#include "CLI/CLI.hpp"
#include "tools/dtrpoctl/generate.h"

namespace dtrpo::ctl {

// `options` outlives the app and is filled when it parses.
void AddGenerateOptions(CLI::App* app, GenerateOptions* options);

}  // namespace dtrpo::ctl

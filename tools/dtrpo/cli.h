// Thread safety: call from one thread.
//
// The frame of the `dtrpo` program: the table of subcommands (in cli.cc), parsing, exit codes.
#pragma once

namespace dtrpo::tools {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

// Runs the subcommand that argv names. Errors are one line on standard error.
int RunCli(int argc, const char* const* argv);

}  // namespace dtrpo::tools

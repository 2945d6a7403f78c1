// What scripts can rely on. Shown by `dtrpoctl --help`.
#pragma once

namespace dtrpo::ctl {

inline constexpr int kOk = 0;
inline constexpr int kFailed = 1;        // the service refused, or a file is bad
inline constexpr int kUsage = 2;         // the command line is wrong
inline constexpr int kJobFailed = 3;     // the watched job ended FAILED
inline constexpr int kJobCancelled = 4;  // the watched job ended CANCELLED
inline constexpr int kUnreachable = 5;   // no coordinator, or no rollout, at that address

inline constexpr char kExitCodesHelp[] =
    "Exit codes: 0 ok; 1 failed; 2 wrong usage; 3 the watched job FAILED; 4 it was CANCELLED;\n"
    "5 the coordinator, or the rollout, can't be reached.";

}  // namespace dtrpo::ctl

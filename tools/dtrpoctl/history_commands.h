// Not thread-safe: one command per process.
//
// What was and what may be again: `dtrpoctl logs`, `metrics` and `rollback`.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "CLI/CLI.hpp"
#include "tools/dtrpoctl/commands.h"

namespace dtrpo::ctl {

struct HistoryOptions {
  std::string job_id = "";
  bool follow = false;                               // of logs
  std::string format = "jsonl";                      // of metrics
  std::string out = ".";                             // of metrics: a folder
  std::optional<int64_t> version = std::nullopt;     // of rollback: one of these two
  std::optional<int64_t> checkpoint = std::nullopt;  // its step
};

// A line for each event: time, kind, text. With --json the protocol's JobEvent. `follow`: until the
// job is over and everything is shown.
int Logs(const Session& session, const HistoryOptions& options);

// Writes the job's curve and evaluations: OUT/metrics.jsonl, or an event file of TensorBoard.
int Metrics(const Session& session, const HistoryOptions& options);

// Prints the job's state.
int RollBack(const Session& session, const HistoryOptions& options);

// Adds the three; `*command` becomes what the user asked for. All outlive parsing and command.
void AddHistoryCommands(CLI::App* app, const Session* session, HistoryOptions* options,
                        std::function<int()>* command);

}  // namespace dtrpo::ctl

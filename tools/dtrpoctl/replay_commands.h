// Not thread-safe: one command per process.
//
// `dtrpoctl replay ...`: looks into the replay store, writes items to a file and reads them back.
#pragma once

#include <cstdint>
#include <functional>
#include <istream>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "common/wire/replay_view_client.h"
#include "tools/dtrpoctl/commands.h"

namespace dtrpo::ctl {

struct ReplayOptions {
  std::string address;  // of the shards, comma-separated; empty: the coordinator says
  std::string job_id;   // of stats: may be empty
  int64_t item = 0;     // of show
  int64_t limit = 0;    // of list and export; 0: all
  v1::ListItemsRequest filters;
  std::string tokenizer;  // of show: a model folder; empty: the job's, if it is at hand
  bool steps = true;      // of show: the text at each step
  std::string file;       // of export and import; "-": the streams below
  std::istream* in = nullptr;
};

// To the shards, in their order.
using DialReplay = std::function<absl::StatusOr<std::unique_ptr<wire::ReplayViewClient>>(
    const std::vector<std::string>&)>;

int ReplayStats(const Session& session, const ReplayOptions& options, const DialReplay& dial);
int ReplayList(const Session& session, const ReplayOptions& options, const DialReplay& dial);
int ReplayShow(const Session& session, const ReplayOptions& options, const DialReplay& dial);
int ReplayExport(const Session& session, const ReplayOptions& options, const DialReplay& dial);
int ReplayImport(const Session& session, const ReplayOptions& options, const DialReplay& dial);

// Adds `replay` and its subcommands; `*command` becomes what the user asked for. All outlive the
// parsing and the command.
void AddReplayCommands(CLI::App* app, const Session* session, ReplayOptions* options,
                       const DialReplay* dial, std::function<int()>* command);

}  // namespace dtrpo::ctl

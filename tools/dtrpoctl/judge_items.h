// Not thread-safe: one command per process.
//
// Judges stored answers anew: what `replay export` wrote, with the rules or services of today, to
// see which rewards would be others now.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "common/reward/judge.h"
#include "tools/dtrpoctl/commands.h"

namespace dtrpo::ctl {

struct JudgeOptions {
  std::string file;  // of `replay export`
  std::string data;  // the job's data.prompts
  std::string answer_field = "answer";
  std::vector<std::string> verifiers;  // terms, "0.2*length:1..200"
  std::string service;                 // host:port
};

// Makes the client of the reward service at an address.
using DialReward =
    std::function<absl::StatusOr<std::unique_ptr<reward::RemoteReward>>(const std::string&)>;

// A line on `out` for each answer whose reward is another one now or can't be had; the sums on
// `err`.
int JudgeItems(const Session& session, const JudgeOptions& options, const DialReward& dial);

// `judge`; the pointers outlive `app`.
void AddJudgeCommand(CLI::App* app, const Session* session, JudgeOptions* options,
                     const DialReward* dial, std::function<int()>* command);

}  // namespace dtrpo::ctl

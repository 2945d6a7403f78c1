// Not thread-safe: one command per process.
//
// `dtrpoctl generate`: talks to the policy that a job trains, one prompt or a conversation.
#pragma once

#include <istream>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/dtrpo/v1/generate.pb.h"
#include "tools/dtrpoctl/commands.h"
#include "tools/dtrpoctl/rollout_caller.h"

namespace dtrpo::ctl {

struct GenerateOptions {
  std::string job_id;           // empty: whichever job a rollout works on
  std::string rollout_address;  // empty: asked of the coordinator

  // One of these at most. None: standard input, as a conversation when it is a terminal.
  std::optional<std::string> prompt;
  std::string prompt_file;      // "-": standard input
  std::string tokens;           // "1,2,3"
  bool standard_input = false;  // to its end
  std::string system;           // a system message before the prompt; empty: none
  bool raw = false;

  v1::GenerateParameters parameters;
  std::optional<int64_t> version;
  absl::Duration time_limit = absl::Minutes(10);  // of one answer
  std::istream* in = nullptr;
  bool terminal = false;  // `in` is one
};

// Text as it comes on `out`, or token ids where the checkpoint has no tokenizer, then one line on
// `err`; with session.json each message of the protocol as a line of JSON.
int Generate(const Session& session, const GenerateOptions& options, RolloutCaller::Dial dial);

}  // namespace dtrpo::ctl

// Thread safety: pure functions, but for the commands.
//
// Why a job doesn't move: from whom the learner, and whoever it waits for, and so on, waits for
// what. Made of what the services tell with their heartbeats, and of their silence.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proto/dtrpo/v1/coordinator.pb.h"
#include "tools/dtrpoctl/commands.h"

namespace dtrpo::ctl {

struct Blockage {
  std::string who;     // "rollout-1", "replay-0", "coordinator"
  std::string reason;  // "hasn't answered", or what it waits for
  int64_t since_unix_ms = 0;
};

struct Explanation {
  // Those at the ends of the chains that don't answer; if all answer, those at the ends that wait.
  // Empty: the job is over, or everybody works.
  std::vector<Blockage> blocked;
  // The chains, indented; whoever waits stands above whom it waits for.
  std::vector<std::string> lines;
};

// `workers.now_unix_ms` is the present.
Explanation Explain(const v1::JobStatus& job, const v1::ListWorkersResponse& workers);

int Why(const Session& session, const std::string& job_id);

}  // namespace dtrpo::ctl

// Thread safety: pure functions, but for the command.
//
// The whole system on one screen, again and again.
#pragma once

#include <string>

#include "proto/dtrpo/v1/coordinator.pb.h"
#include "tools/dtrpoctl/commands.h"

namespace dtrpo::ctl {

struct TopOptions {
  double interval_seconds = 1;
  bool once = false;
};

// Jobs that aren't over with their prompts by state, workers with the versions that they lag, and
// the replay shards.
std::string TopFrame(const v1::ListJobsResponse& jobs, const v1::ListWorkersResponse& workers);

// Until it is interrupted, or once. A coordinator that doesn't answer is said and asked again.
int Top(const Session& session, const TopOptions& options);

}  // namespace dtrpo::ctl

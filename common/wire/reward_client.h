// Thread safety: the client may be used from many threads at once.
//
// Rewards of a reward service (proto/dtrpo/v1/reward.proto), several calls at a time. Judging is
// idempotent, so what fails is asked again:
//
//   the service can't be reached, or says "not now"   until `outage` has passed; not an attempt
//   an answer's reward fails or isn't finite, or the   `attempts` times in all, with back-off;
//   call fails or runs out of time                     only what has no reward yet is asked again
//   there is no such reward                            never again
//
// After that the answer's status says why it has none.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "common/base/retry.h"
#include "common/base/wait_states.h"
#include "common/job/job_spec.h"
#include "common/reward/judge.h"

namespace dtrpo::wire {

struct RewardClientOptions {
  std::string target;  // "reward service 127.0.0.1:4007", for messages and wait states
  std::string job_id;  // travels as metadata; empty: no job
  absl::Duration timeout = absl::Seconds(30);  // of one call
  int attempts = 4;
  absl::Duration outage = absl::Minutes(10);
  int items_per_call = 16;
  int calls_in_flight = 8;
  base::RetryOptions backoff;                // its waits only
  base::WaitStateRegistry* waits = nullptr;  // null: waits aren't registered
  base::Counter* failed_calls = nullptr;     // and answers within calls; null: not counted
};

// As the job says.
RewardClientOptions RewardOptions(const job::RewardServiceSpec& service);

std::unique_ptr<reward::RemoteReward> MakeRewardClient(
    const std::shared_ptr<grpc::Channel>& channel, RewardClientOptions options);

}  // namespace dtrpo::wire

// Thread-safe. How much one peer may ask of a server: calls at the same time, and calls a second.
// A peer is a role on a host ("rollout@10.0.0.7"); in plain text a host, since what a caller says
// of itself is no proof. Time comes from outside.
#pragma once

#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace dtrpo::rpc {

class CallLimiter {
 public:
  // Bursts of up to `calls_per_second` calls are let through.
  CallLimiter(int32_t calls_per_second, int32_t calls_per_peer)
      : calls_per_second_(calls_per_second), calls_per_peer_(calls_per_peer) {}

  // RESOURCE_EXHAUSTED with a retry-after, reason "rate_limited" or "too_many_calls". After OK an
  // End() follows.
  absl::Status Begin(const std::string& peer, absl::Time now) ABSL_LOCKS_EXCLUDED(mutex_);
  void End(const std::string& peer) ABSL_LOCKS_EXCLUDED(mutex_);

  int64_t peers() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Peer {
    double allowance;  // calls that may come at once
    absl::Time updated;
    int32_t running = 0;
  };
  void ForgetIdlePeers(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int32_t calls_per_second_;
  const int32_t calls_per_peer_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, Peer> peers_ ABSL_GUARDED_BY(mutex_);
  size_t forget_at_ ABSL_GUARDED_BY(mutex_) = 1024;  // peers, when the idle ones are looked for
};

}  // namespace dtrpo::rpc

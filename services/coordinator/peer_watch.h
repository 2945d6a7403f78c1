// Thread-safe.
//
// Who doesn't answer. Workers tell how they do by heartbeats; the replay shards send none, so they
// are asked once a second. For people: nothing is decided by it.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/stop_signal.h"
#include "common/base/wait_states.h"
#include "proto/dtrpo/v1/coordinator.pb.h"
#include "services/coordinator/coordinator_metrics.h"

namespace dtrpo::coordinator {

class PeerWatch {
 public:
  struct Shard {
    std::string address;
    // What it waits for, and in words what it holds.
    struct Answer {
      std::vector<v1::WaitState> waits;
      std::string state;
    };
    std::function<absl::StatusOr<Answer>(absl::Time deadline)> ask;
  };
  // `own_waits`, `metrics` and `clock` outlive the object.
  PeerWatch(std::vector<Shard> shards, const base::WaitStateRegistry* own_waits,
            const CoordinatorMetrics* metrics, base::Clock* clock);

  // A worker fell silent; one of its role came to its address.
  void OnLost(const v1::WorkerStatus& worker) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnRegistered(const std::string& role, const std::string& address)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Asks each shard once.
  void Step() ABSL_LOCKS_EXCLUDED(mutex_);
  // Steps until `stop`.
  void Run(base::StopSignal& stop);

  // Adds the lost ones, the shards, and the coordinator's own waits.
  void Fill(v1::ListWorkersResponse* response) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const std::vector<Shard> shards_;
  const base::WaitStateRegistry* const own_waits_;
  const CoordinatorMetrics* const metrics_;
  base::Clock* const clock_;
  mutable absl::Mutex mutex_;
  std::deque<v1::WorkerStatus> lost_ ABSL_GUARDED_BY(mutex_);           // newest first
  std::vector<v1::WorkerStatus> shard_status_ ABSL_GUARDED_BY(mutex_);  // as shards_
};

}  // namespace dtrpo::coordinator

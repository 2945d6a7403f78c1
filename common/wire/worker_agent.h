// Thread safety: all methods may be called from any thread.
//
// A worker's standing with the coordinator: registers, beats, registers again when the coordinator
// has forgotten it, and keeps the newest assignment. An assignment is desired state, sent whole
// each time; the worker's loop compares it with what it is doing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/wait_states.h"
#include "common/wire/job_codec.h"
#include "common/wire/worker_client.h"

namespace dtrpo::wire {

// What a heartbeat says of the worker.
struct WorkerReport {
  std::string job_id;
  std::string state;  // in words
  int64_t version = -1;
  std::vector<int64_t> versions_held;
};

class WorkerAgent {
 public:
  struct Options {
    v1::RegisterWorkerRequest registration;
    absl::Duration call_timeout = absl::Seconds(5);
    // Asked for before each heartbeat, from the agent's thread.
    std::function<WorkerReport()> report;
    // Told each assignment, from the agent's thread; must return soon. May be null.
    std::function<void(const v1::Assignment&)> on_assignment;
  };
  // `client`, `clock` and `waits` outlive the agent. Starts beating at once.
  WorkerAgent(Options options, WorkerClient* client, base::Clock* clock,
              base::WaitStateRegistry* waits);
  ~WorkerAgent();  // stops and joins

  // Empty until the first heartbeat was answered.
  v1::Assignment assignment() const ABSL_LOCKS_EXCLUDED(mutex_);
  std::string worker_id() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Waits until the assignment names a job that isn't over, `deadline`, or Stop. True when it does.
  bool AwaitJob(absl::Time deadline) ABSL_LOCKS_EXCLUDED(mutex_);

  // A heartbeat at once: the state has changed in a way that others wait for.
  void BeatNow() ABSL_LOCKS_EXCLUDED(mutex_);

  // Ends the thread; AwaitJob returns. Idempotent.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Beat() ABSL_LOCKS_EXCLUDED(mutex_);

  const Options options_;
  WorkerClient* const client_;
  base::Clock* const clock_;
  base::WaitStateRegistry* const waits_;
  mutable absl::Mutex mutex_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  bool beat_now_ ABSL_GUARDED_BY(mutex_) = false;
  std::string worker_id_ ABSL_GUARDED_BY(mutex_);
  absl::Duration interval_ ABSL_GUARDED_BY(mutex_) = absl::Milliseconds(500);
  v1::Assignment assignment_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace dtrpo::wire

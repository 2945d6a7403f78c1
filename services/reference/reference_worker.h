// Thread safety: Run() is called once, from one thread; Stop() from any.
//
// Keeps the scorer loaded with the base model of the job that the coordinator assigns.
#pragma once

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/clock.h"
#include "common/base/stop_signal.h"
#include "common/base/wait_states.h"
#include "common/wire/worker_agent.h"
#include "common/wire/worker_client.h"
#include "services/reference/reference_scorer.h"

namespace dtrpo::reference {

class ReferenceWorker {
 public:
  // Pointers outlive the worker. What a job names must lie in `data_roots`; none: anywhere.
  ReferenceWorker(v1::RegisterWorkerRequest registration, ReferenceScorer* scorer,
                  wire::WorkerClient* coordinator, base::Clock* clock,
                  base::WaitStateRegistry* waits, std::vector<std::string> data_roots = {});
  ~ReferenceWorker();

  void Run();
  void Stop();

 private:
  // At once when its model is loaded already.
  void Load(const v1::Assignment& assignment);
  void SetState(std::string job_id, std::string state) ABSL_LOCKS_EXCLUDED(mutex_);

  ReferenceScorer* const scorer_;
  base::Clock* const clock_;
  const std::vector<std::string> data_roots_;
  base::StopSignal stop_;
  std::string loaded_;  // job; empty: none
  absl::Mutex mutex_;
  wire::WorkerReport report_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<wire::WorkerAgent> agent_;  // last: its thread uses all of the above
};

}  // namespace dtrpo::reference

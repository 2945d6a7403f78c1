// Thread safety: Run() is called once, from the main thread of the process; Stop() from any.
//
// Follows the coordinator's assignment: one LearnerRun per granted (job, attempt), pausing and
// letting go as told.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/base/clock.h"
#include "common/base/file_system.h"
#include "common/base/stop_signal.h"
#include "common/base/wait_states.h"
#include "common/collectives/process_group.h"
#include "common/rpc/channel_factory.h"
#include "common/wire/worker_agent.h"
#include "common/wire/worker_client.h"
#include "services/learner/learner_metrics.h"
#include "services/learner/learner_peers.h"
#include "services/learner/learner_run.h"
#include "services/learner/weights_publisher.h"

namespace dtrpo::learner {

class LearnerWorker {
 public:
  struct Options {
    v1::RegisterWorkerRequest registration;
    absl::Duration call_timeout = absl::Seconds(30);
    torch::Device device = torch::kCPU;        // where models are
    std::vector<std::string> data_roots = {};  // what a job names lies in them; none: anywhere
  };
  // All outlive the worker.
  struct Deps {
    wire::WorkerClient* coordinator;
    rpc::ChannelFactory* channels;
    base::FileSystem* files;
    base::Clock* clock;
    base::WaitStateRegistry* waits;
    const LearnerMetrics* metrics;
  };
  LearnerWorker(Options options, Deps deps);
  ~LearnerWorker();

  // Works until Stop(). A run under way writes its checkpoint first.
  void Run();
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // Returns once the coordinator wants something else of this worker. An error: the job couldn't be
  // begun.
  absl::Status RunJob(const v1::Assignment& assignment) ABSL_LOCKS_EXCLUDED(mutex_);
  // Null: the job has one rank.
  std::unique_ptr<collectives::ProcessGroup> Ranks(const v1::Assignment& assignment) const;
  void AwaitWhoWasLost(const v1::JobRef& job, LearnerPeers& peers,
                       const collectives::ProcessGroup& group);
  absl::StatusOr<int64_t> Push(const v1::JobRef& job, const std::string& address,
                               const weights::Image& image);
  void Follow(const v1::Assignment& assignment) ABSL_LOCKS_EXCLUDED(mutex_);
  wire::WorkerReport Report() ABSL_LOCKS_EXCLUDED(mutex_);

  const Options options_;
  const Deps deps_;
  base::StopSignal stop_;
  absl::Mutex mutex_;
  v1::JobRef job_ ABSL_GUARDED_BY(mutex_);  // of the run under way
  std::shared_ptr<LearnerRun> run_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<WeightsPublisher> publisher_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<wire::WorkerAgent> agent_;  // last: its thread uses all of the above
};

}  // namespace dtrpo::learner

// Thread safety: Run() is called once, from the main thread of the process; Stop() from any.
//
// Follows the coordinator's assignment: loads the job's base model, then leases prompts, samples
// them with the newest weights it holds (evaluations: with the version they name), inserts what
// came of them in replay and reports. A lease is either reported with its outcome or handed back;
// replay's confirmation comes before the report, so a crash in between repeats the prompt and the
// repeated insert stores nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "common/base/clock.h"
#include "common/base/stop_signal.h"
#include "common/base/wait_states.h"
#include "common/rpc/channel_factory.h"
#include "common/weights/version_store.h"
#include "common/wire/replay_client.h"
#include "common/wire/reward_client.h"
#include "common/wire/worker_agent.h"
#include "common/wire/worker_client.h"
#include "services/rollout/policy_cache.h"
#include "services/rollout/prompt_sampler.h"
#include "services/rollout/rollout_metrics.h"
#include "services/rollout/served_job.h"
#include "services/rollout/weights_service.h"

namespace dtrpo::rollout {

class RolloutWorker {
 public:
  struct Options {
    v1::RegisterWorkerRequest registration;
    absl::Duration call_timeout = absl::Seconds(30);
    int32_t lease_prompts = 8;
    BatchLimits batch = {};
    torch::Device device = torch::kCPU;        // where models are
    std::vector<std::string> data_roots = {};  // what a job names lies in them; none: anywhere
  };
  // All outlive the worker.
  struct Deps {
    wire::WorkerClient* coordinator;
    rpc::ChannelFactory* channels;
    weights::VersionStore* versions;
    WeightsService* weights_service;
    ServedJobSlot* served_job;
    base::Clock* clock;
    base::WaitStateRegistry* waits;
    const RolloutMetrics* metrics;
  };
  RolloutWorker(Options options, Deps deps);
  ~RolloutWorker();

  // Works until Stop(). Prompts under way are handed back.
  void Run();
  void Stop();

 private:
  // What is loaded for one job.
  struct Session {
    ~Session() { AwaitJudged(); }
    void AwaitJudged() {
      if (judging.joinable()) judging.join();
    }
    v1::JobRef job;
    std::shared_ptr<const RolloutRunMetrics> metrics;
    std::unique_ptr<reward::RemoteReward> service;  // null: the job asks none
    std::unique_ptr<wire::ReplayClient> replay;
    std::unique_ptr<PromptSampler> sampler;
    std::shared_ptr<PolicyCache> policies;
    std::thread judging;  // of one group of prompts, while the next one is sampled
    std::atomic<bool> holds_leases = false;  // that are being judged
  };
  absl::StatusOr<std::unique_ptr<Session>> Open(const v1::Assignment& assignment);
  // One lease, and everything that follows from it.
  void WorkOnce(Session& session);
  std::vector<v1::PromptLease> Lease(const Session& session);
  void Process(Session& session, const std::vector<v1::PromptLease>& leases);
  // Everything that follows sampling: judges, stores and reports.
  void Finish(Session& session, const std::vector<v1::PromptLease>& leases, SampledPrompts sampled);
  static v1::PromptResult Failed(const Session& session, const v1::PromptLease& lease,
                                 const absl::Status& why);
  v1::PromptResult Store(Session& session, const v1::PromptLease& lease, PromptResult result);
  void ReportResults(const Session& session, const std::vector<v1::PromptResult>& results);
  // The job is still this worker's, and the process isn't leaving.
  bool KeepGoing(const Session& session) const;
  // Also false once no learner waits for training prompts any more. Replay then refuses their pairs
  // (it has all that the job's steps take), and the final evaluation waits for this worker.
  bool KeepTraining(const Session& session) const;
  void Follow(const v1::Assignment& assignment);
  wire::WorkerReport Report() ABSL_LOCKS_EXCLUDED(mutex_);
  void SetState(std::string job_id, std::string state) ABSL_LOCKS_EXCLUDED(mutex_);

  const Options options_;
  const Deps deps_;
  base::StopSignal stop_;
  absl::Mutex mutex_;
  std::string job_id_ ABSL_GUARDED_BY(mutex_);  // for heartbeats: the job whose weights are held
  std::string state_ ABSL_GUARDED_BY(mutex_) = "idle";
  std::unique_ptr<wire::WorkerAgent> agent_;  // last: its thread uses all of the above
};

}  // namespace dtrpo::rollout

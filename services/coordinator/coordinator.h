// Thread-safe: one mutex over everything; no call holds it while it waits, reads a file or talks to
// another process.
//
// The composition: jobs in the order they were submitted, workers, and who works on what. One job
// runs at a time, to its end; of those that are PENDING behind it the one with the highest priority
// comes next, the oldest of equals. Requests and answers are the protocol's messages; knows no
// gRPC.
//
//   job_service, worker_service --> Coordinator <-- replay_driver (desired state out, events in)
//                                       |  owns
//                           JobRun per job, WorkerRegistry
//
// Time passes in Tick(): silent workers are given up, leases run out, jobs move on. Call it every
// ~100 ms.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/file_system.h"
#include "common/storage/storage_engine.h"
#include "proto/dtrpo/v1/coordinator.pb.h"
#include "services/coordinator/coordinator_metrics.h"
#include "services/coordinator/job_run.h"
#include "services/coordinator/logged_operation.h"
#include "services/coordinator/peer_watch.h"
#include "services/coordinator/prompt_file.h"
#include "services/coordinator/worker_registry.h"

namespace dtrpo::coordinator {

class Coordinator {
 public:
  struct Options {
    JobRun::Options job;
    absl::Duration heartbeat_interval = absl::Milliseconds(500);
    absl::Duration worker_timeout = absl::Seconds(5);
    std::vector<std::string> replay;  // host:port of each shard, told to workers
    int max_unfinished_jobs = 1000;
    std::vector<std::string> data_roots;   // what jobs name lies below one; none: anywhere
    int64_t records_per_snapshot = 10000;  // of the log, before a snapshot replaces them
    int64_t max_message_bytes = 64 << 20;  // of every service: what a job sends at once must fit
  };
  struct Deps {
    base::Clock* clock = base::RealClock();
    base::FileSystem* files = base::PosixFileSystem();
    const CoordinatorMetrics* metrics = nullptr;  // required
    // How the lines of a job's prompt files are checked.
    std::function<absl::StatusOr<PromptCheck>(const job::JobSpec&)> prompt_check = MakePromptCheck;
    // Where operations are logged, so that jobs outlive the process; null: nowhere.
    storage::StorageEngine* engine = nullptr;
    PeerWatch* peers = nullptr;  // whom ListWorkers asks for the silent ones; null: nobody
  };
  // What is in `deps` outlives the coordinator.
  Coordinator(Options options, Deps deps);

  // Clients. NOT_FOUND for unknown jobs.
  absl::StatusOr<v1::SubmitJobResponse> SubmitJob(const v1::SubmitJobRequest& request);
  absl::StatusOr<v1::JobStatus> GetJob(const v1::GetJobRequest& request);
  v1::ListJobsResponse ListJobs();
  absl::StatusOr<v1::JobStatus> CancelJob(const v1::CancelJobRequest& request);
  absl::StatusOr<v1::JobStatus> PauseJob(const v1::PauseJobRequest& request);
  absl::StatusOr<v1::JobStatus> ResumeJob(const v1::ResumeJobRequest& request);
  absl::StatusOr<v1::JobStatus> RollBackJob(const v1::RollBackJobRequest& request);
  absl::StatusOr<v1::ListJobEventsResponse> ListJobEvents(const v1::ListJobEventsRequest& request);
  v1::ListWorkersResponse ListWorkers();
  // Waits until the job's revision differs from `revision` (0: doesn't wait) or the deadline; then
  // the status with the steps beyond `after_step`, and its revision.
  absl::StatusOr<v1::JobStatus> AwaitChange(const std::string& job_id, uint64_t& revision,
                                            int64_t after_step, absl::Time deadline);

  // Workers. NOT_FOUND for unknown workers and jobs.
  absl::StatusOr<v1::RegisterWorkerResponse> RegisterWorker(const v1::RegisterWorkerRequest&);
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const v1::HeartbeatRequest& request);
  absl::StatusOr<v1::LeasePromptsResponse> LeasePrompts(const v1::LeasePromptsRequest& request);
  absl::StatusOr<v1::ReportPromptsResponse> ReportPrompts(const v1::ReportPromptsRequest& request);
  absl::StatusOr<v1::RegisterVersionResponse> RegisterVersion(
      const v1::RegisterVersionRequest& request);
  absl::StatusOr<v1::ReportStepResponse> ReportStep(const v1::ReportStepRequest& request);
  absl::StatusOr<v1::RegisterCheckpointResponse> RegisterCheckpoint(
      const v1::RegisterCheckpointRequest& request);
  absl::StatusOr<v1::ReportPairsResponse> ReportPairs(const v1::ReportPairsRequest& request);
  absl::StatusOr<v1::FinishTrainingResponse> FinishTraining(
      const v1::FinishTrainingRequest& request);

  void Tick();

  // The replay store: what it should be told, for each job that has something to tell.
  std::vector<ReplayWork> DesiredReplayWork();
  // Its answers; no-ops for an unknown job.
  void OnReplayOpened(const std::string& job_id, const absl::Status& status);
  void OnReplayClosed(const std::string& job_id);
  void OnNewestSent(const ReplayWork& work);
  void OnPromptEvents(const std::string& job_id,
                      const absl::StatusOr<v1::PollPromptEventsResponse>& response,
                      absl::Time polled_at);
  void OnReplayStats(const std::string& job_id, const v1::GetReplayStatsResponse& stats);

  // The results of a job of kind eval are in its output folder, or can't be.
  void OnResultsWritten(const std::string& job_id, const absl::Status& status);

  // Reads the snapshot, carries out what the log holds behind it, and gives running leases and
  // workers a full new term. Call once, before anything else. DATA_LOSS when the log leads to other
  // jobs than it did.
  absl::Status Restore();
  // Waits until everything that was answered so far is in the log for good. Whoever hands an answer
  // out asks first. Once it failed, so does everything: the process should end and start again.
  absl::Status Durable();
  bool LogFailed();

 private:
  static constexpr char kLog[] = "coordinator";
  // Where a job's prompts are: two bodies of the log, training prompts and held-out ones.
  static constexpr storage::BodyId kBodiesPerJob = 2;
  struct JobSource {
    storage::BodyId first_body = 0;
    int64_t prompts = 0;
    int64_t heldout = 0;
    bool over = false;  // the job is over, and its bodies are deleted

    template <typename Archive>
    void Kept(Archive& archive) {
      archive(first_body, prompts, heldout, over);
    }
  };

  // One call that may change something: has one time, and is logged at its end if it did.
  class Operation;
  friend class Operation;

  absl::Time Now() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  uint64_t Revisions() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  uint64_t Digest() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  std::vector<int64_t> TakeGivenUp() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Log(const LoggedOperation& operation, std::vector<std::string> bodies)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // All jobs and workers, and back into a coordinator that has none.
  std::string EncodeState() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  absl::Status DecodeState(absl::string_view state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteSnapshotWhenDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of the operations that the snapshot holds the last; 0: there is no snapshot.
  absl::StatusOr<storage::Position> RestoreSnapshot();
  absl::Status ReadPrompts(const JobSource& source, PromptLines& prompts, PromptLines& heldout);
  absl::Status Repeat(const LoggedOperation& operation);
  absl::Status RepeatSubmit(const LoggedOperation& operation);
  void GiveUpOnly(const std::vector<int64_t>& versions);
  std::string Accept(const v1::SubmitJobRequest& request, job::JobSpec spec, PromptLines prompts,
                     PromptLines heldout, const JobRun::Options& options)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnWorkerLost(const std::string& worker_id, const std::string& why);
  // Leases and workers get a full new term. `why`: empty for a start.
  void OnRestored(const std::string& why);
  absl::Status CheckFiles(const job::JobSpec& spec, PromptLines& prompts, PromptLines& heldout,
                          std::vector<std::string>& notes);
  // model.from_job -> model.path.
  absl::Status ResolveModel(v1::ModelSpec* model) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status DescribeDryRun(const job::JobSpec& spec, v1::SubmitJobResponse* response) const;
  absl::StatusOr<JobRun*> FindJob(const std::string& job_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The job that has begun and isn't over, or else of those that wait the oldest with the highest
  // priority; null: none.
  JobRun* Head() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TickLocked(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LoseWorker(const std::string& worker_id, const std::string& why, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  v1::Assignment AssignmentFor(const Worker& worker) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ShowMetrics(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteResults() ABSL_LOCKS_EXCLUDED(mutex_);

  const Options options_;
  const Deps deps_;
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<JobRun>> jobs_ ABSL_GUARDED_BY(mutex_);  // as submitted
  std::vector<JobSource> sources_ ABSL_GUARDED_BY(mutex_);             // of jobs_
  std::map<std::string, std::string> by_key_ ABSL_GUARDED_BY(mutex_);  // idempotency key -> id
  WorkerRegistry workers_ ABSL_GUARDED_BY(mutex_);
  absl::Time last_tick_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();

  // Of the log.
  std::optional<absl::Time> repeating_ ABSL_GUARDED_BY(mutex_);  // the time of what is repeated

  storage::BodyId next_body_ ABSL_GUARDED_BY(mutex_) = 0;
  storage::Sequence logged_ ABSL_GUARDED_BY(mutex_) = 0;
  storage::Position logged_position_ ABSL_GUARDED_BY(mutex_) = 0;
  storage::Position snapshot_position_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status log_failed_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> last_stats_ ABSL_GUARDED_BY(mutex_);  // by job, serialised
};

}  // namespace dtrpo::coordinator

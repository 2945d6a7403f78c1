// Not thread-safe: belongs to the coordinator's lock. Time comes in as an argument.
//
// One job as the coordinator runs it: its state machine and everything keyed by it. Owns all of its
// parts; knows no other job and no network. What has to be said to the replay store is kept as
// desired state (ReplayWork), which a loop outside the lock carries out and reports back.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/job/job_spec.h"
#include "proto/dtrpo/v1/coordinator.pb.h"
#include "proto/dtrpo/v1/replay.pb.h"
#include "services/coordinator/coordinator_metrics.h"
#include "services/coordinator/evaluation_results.h"
#include "services/coordinator/evaluations.h"
#include "services/coordinator/job.h"
#include "services/coordinator/job_checkpoints.h"
#include "services/coordinator/job_events.h"
#include "services/coordinator/learner_gang.h"
#include "services/coordinator/pair_ledger.h"
#include "services/coordinator/prompt_file.h"
#include "services/coordinator/prompt_ledger.h"
#include "services/coordinator/recent_ids.h"
#include "services/coordinator/sliding_rate.h"
#include "services/coordinator/step_history.h"
#include "services/coordinator/version_registry.h"
#include "services/coordinator/worker_registry.h"

namespace dtrpo::coordinator {

// What the replay store should be told about a job, as of now.
struct ReplayWork {
  std::string job_id;
  bool open = false;
  bool close = false;
  bool set_newest = false;
  int64_t newest_version = 0;
  bool end_of_prompts = false;
  bool end_of_external = false;  // of imported pairs
  int64_t forget_epochs_below = 0;
  bool poll = false;
  int64_t after_position = 0;
  v1::ReplayJobOptions options;  // with open
};

class JobRun {
 public:
  struct Options {
    absl::Duration lease = absl::Minutes(1);
    int32_t max_job_attempts = 3;
    int32_t max_prompt_attempts = 3;
    absl::Duration evaluation_give_up_after = absl::Minutes(1);
    // After the learner finished: how long to wait for the replay store's last events before the
    // job ends without them.
    absl::Duration last_events_timeout = absl::Seconds(30);
    int32_t vocabulary_size = 0;  // of the job's model; 0: not known

    template <typename Archive>
    void Kept(Archive& archive) {
      archive(lease, max_job_attempts, max_prompt_attempts, evaluation_give_up_after,
              last_events_timeout, vocabulary_size);
    }
  };
  JobRun(std::string id, job::JobSpec spec, PromptLines prompts, PromptLines heldout,
         const Options& options, absl::Time now);

  const std::string& id() const { return id_; }
  const job::JobSpec& spec() const { return spec_; }
  const Options& options() const { return options_; }
  absl::Time submitted() const { return submitted_; }
  JobState state() const { return job_.state(); }
  bool final() const { return job_.final(); }
  // Who is granted; rank 0 speaks for all of them but for errors.
  const LearnerGang& gang() const { return gang_; }
  // Rises with every change that a watcher can see.
  uint64_t revision() const { return revision_; }
  // Of what a watcher can see and what is handed out next: two jobs that differ in it are
  // different.
  uint64_t Digest() const;

  // The job is at the head of the queue: grants learners, runs out leases, ends what is over.
  void Advance(const WorkerRegistry& workers, absl::Time now);
  // It isn't; `reason` says behind whom it waits.
  void WaitInQueue(const std::string& reason, absl::Time now) { Explain(reason, now); }
  // What Advance() gave up of evaluations since the last call, and the same told to a job that is
  // restored from its log, where heartbeats aren't known.
  std::vector<int64_t> TakeGivenUp() { return std::exchange(given_up_, {}); }
  void GiveUpOnly(std::vector<int64_t> versions) { to_give_up_ = std::move(versions); }
  void GiveUpByTime() { to_give_up_.reset(); }
  // The coordinator was away, or the clock jumped, back perhaps. `why`: empty for a start.
  void RestoredAt(absl::Time now, const std::string& why);
  void OnWorkerGone(const std::string& worker_id, const std::string& why, absl::Time now);
  void OnWorkerJoined(const Worker& worker, absl::Time now);

  // From clients.
  absl::Status Pause(absl::Time now);
  absl::Status Resume(absl::Time now);
  absl::Status Cancel(const std::string& reason, absl::Time now);
  // Where a rollback would go. FAILED_PRECONDITION when it can't.
  absl::StatusOr<SavedCheckpoint> RollBackTarget(const v1::RollBackJobRequest& request) const;
  // Ends the attempt; the next one goes on from an earlier checkpoint.
  absl::Status RollBack(const v1::RollBackJobRequest& request, absl::Time now);
  v1::ListJobEventsResponse Events(int64_t after, int32_t max) const;
  const JobCheckpoints& checkpoints() const { return checkpoints_; }

  // From rollouts.
  v1::LeasePromptsResponse Lease(const v1::LeasePromptsRequest& request, absl::Time now);
  void Report(const v1::ReportPromptsRequest& request, absl::Time now);

  // From the learner; refused for any attempt but the granted one.
  absl::Status RegisterVersion(const v1::RegisterVersionRequest& request, absl::Time now);
  absl::StatusOr<v1::ReportStepResponse> ReportStep(const v1::ReportStepRequest& request,
                                                    absl::Time now);
  absl::StatusOr<v1::RegisterCheckpointResponse> RegisterCheckpoint(
      const v1::RegisterCheckpointRequest& request, absl::Time now);
  absl::Status FinishTraining(const v1::FinishTrainingRequest& request, absl::Time now);
  absl::StatusOr<v1::ReportPairsResponse> ReportPairs(const v1::ReportPairsRequest& request,
                                                      absl::Time now);

  // To and from the replay store.
  ReplayWork DesiredReplayWork() const;
  void OnReplayOpened(const absl::Status& status, absl::Time now);
  void OnReplayClosed() { replay_ = ReplayState::kClosed; }
  void OnNewestSent(const ReplayWork& work);
  // `polled_at` is when the poll began: a full answer to a later one than FinishTraining holds all
  // there is.
  void OnPromptEvents(const absl::StatusOr<v1::PollPromptEventsResponse>& response,
                      absl::Time polled_at, absl::Time now);
  void OnReplayStats(const v1::GetReplayStatsResponse& stats);

  // What a worker should be doing (addresses of other workers are the coordinator's to fill in).
  v1::Assignment AssignmentFor(const Worker& worker) const;
  v1::JobStatus Status(absl::Time now, int64_t steps_after) const;  // steps_after < 0: no steps
  void Show(const CoordinatorMetrics& metrics, absl::Time now) const;
  bool training_finished() const { return training_finished_; }
  // A job of kind eval whose questions are all done, so that its results can be written.
  bool HasResults() const;
  EvaluationResults Results() const;  // REQUIRES: HasResults()
  void OnResultsWritten(const absl::Status& status, absl::Time now);
  bool WantsReplayStats() const { return replay_ == ReplayState::kOpen && !final(); }

  // See kept_state.h. Not kept: prompts_, heldout_ (bodies of the log), given_up_ (empty between
  // operations), to_give_up_ (only while a log is repeated).
  template <typename Archive>
  void Kept(Archive& archive) {
    archive(job_, ledger_, pairs_, pair_evaluations_, versions_, evaluations_, history_, gang_,
            revision_);
    archive(replay_, sent_version_, sent_prompts_ended_, sent_import_ended_,
            sent_forget_epochs_below_, event_position_, checkpoint_wanted_);
    archive(step_, checkpoints_, training_finished_, training_finished_at_, finish_reason_,
            last_events_seen_);
    archive(counted_leases_, tokens_rate_, tokens_, samples_, recent_rewards_, last_prompt_error_,
            started_, finished_, events_, rewards_);
    if (Archive::kReads && final()) ForgetPrompts();
  }

 private:
  enum class ReplayState { kUnopened, kOpen, kClosed };

  void OnReplayLost(absl::Time now);
  void Changed() { ++revision_; }
  // What the job waits for, for its status and its events.
  void Explain(const std::string& reason, absl::Time now);
  void OnEvaluated(const v1::EvaluationRecord& record, absl::Time now);
  void End(absl::Time now);
  void ForgetPrompts();
  void Grant(const std::vector<const Worker*>& learners, absl::Time now);
  // The attempt is over; the next one begins when there are learners for it.
  void LoseGang(const std::string& why, absl::Time now);
  std::string Missing(const WorkerRegistry& workers, absl::Time now) const;
  void AdvanceRunning(const WorkerRegistry& workers, absl::Time now);
  void SucceedIfComplete(absl::Time now);
  void AdvanceEvaluation(const WorkerRegistry& workers, absl::Time now);
  void ReleaseLost(const std::string& worker_id);
  std::vector<v1::PromptLease> LeaseTraining(const v1::LeasePromptsRequest& request, absl::Time now,
                                             std::string& reason);
  void CountTraining(const v1::PromptResult& result, absl::Time now);
  int64_t AdmittedPairs() const;
  // Of the job's data: does it need rollouts, and has each kind of pairs come to its end?
  bool OnlyEvaluates() const { return spec_.kind == job::JobKind::kEval; }
  bool NeedsRollouts() const { return !spec_.data.prompts.empty() || !spec_.data.heldout.empty(); }
  bool PromptsEnded() const { return ledger_.closed(); }
  bool ImportEnded() const { return !pairs_.has_value() || pairs_->all_imported(); }
  void OnPairEvent(const v1::PromptEvent& event);
  int64_t OldestLiveEpoch() const;
  double RewardMean() const;
  v1::RewardCounts Rewards() const;
  void ShowRewards(const CoordinatorMetrics& metrics) const;

  const std::string id_;
  const job::JobSpec spec_;
  const Options options_;
  PromptLines prompts_;  // let go of when the job ends
  PromptLines heldout_;

  Job job_;
  PromptLedger ledger_;
  std::optional<PairLedger> pairs_;                         // of data.pairs
  std::map<int64_t, v1::PairEvaluation> pair_evaluations_;  // by step
  VersionRegistry versions_;
  Evaluations evaluations_;
  StepHistory history_;
  LearnerGang gang_;
  uint64_t revision_ = 1;
  JobEvents events_;
  std::vector<int64_t> given_up_;
  std::optional<std::vector<int64_t>> to_give_up_;  // nullopt: as time and heartbeats say

  // Towards the replay store.
  ReplayState replay_ = ReplayState::kUnopened;
  int64_t sent_version_ = -1;
  bool sent_prompts_ended_ = false;
  bool sent_import_ended_ = false;
  int64_t sent_forget_epochs_below_ = 0;
  int64_t event_position_ = 0;
  bool checkpoint_wanted_ = false;
  std::string replay_problem_;  // why the last poll failed; shown only, neither logged nor kept

  // Of the learner.
  int64_t step_ = 0;
  JobCheckpoints checkpoints_;
  bool training_finished_ = false;
  absl::Time training_finished_at_;
  std::string finish_reason_;
  bool last_events_seen_ = false;

  // Of the rollouts.
  RecentIds counted_leases_;
  mutable SlidingRate tokens_rate_;
  int64_t tokens_ = 0;
  int64_t samples_ = 0;
  std::deque<std::pair<double, int64_t>> recent_rewards_;  // (sum, samples) of a prompt
  std::string last_prompt_error_;
  v1::RewardCounts rewards_;  // but for left_out, which the ledger knows

  const absl::Time submitted_;
  absl::Time started_ = absl::InfiniteFuture();
  absl::Time finished_ = absl::InfiniteFuture();
};

v1::JobState ToProto(JobState state);

}  // namespace dtrpo::coordinator

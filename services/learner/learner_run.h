// Thread safety: Run() is called once, from one thread; the setters may be called from any thread.
//
// One attempt at a job: from the base model (or a checkpoint) to the last step. Step n uses batch
// n.
//
//   for n:  batch n (fed ahead) -> step
//             -> [every publish_every steps: image, register the version, hand it to the publisher]
//             -> report
//             -> [every checkpoint_every steps, when asked, and when version n / publish_every will
//                 be evaluated: write, register, set `latest`, acknowledge replay up to n]
//
// Version v is the weights after step v * publish_every, so V(n) = floor((n-1) / publish_every) is
// what step n starts from when it is the first of its interval; a last interval that was cut short
// gives one more version. A checkpoint within an interval resumes by publishing its weights as
// floor(n / publish_every), under a higher generation; but version 0 always is the base model.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/file_system.h"
#include "common/base/wait_states.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/collectives/process_group.h"
#include "common/job/job_spec.h"
#include "common/training/preference_trainer.h"
#include "common/weights/image.h"
#include "services/learner/batch_feeder.h"
#include "services/learner/learner_metrics.h"
#include "services/learner/learner_peers.h"
#include "services/learner/pair_run.h"
#include "services/learner/rank_words.h"

namespace dtrpo::learner {

// What the coordinator wants of the run at this moment.
//   kPause    write a checkpoint, then wait
//   kDrain    write a checkpoint, then return: the process leaves, and another attempt goes on
//   kAbandon  return: nobody wants the job any more
enum class Desired { kRun, kPause, kDrain, kAbandon };

class LearnerRun {
 public:
  struct Options {
    std::string job_id;
    std::string job_hash;  // of the resolved specification
    int32_t attempt = 1;
    job::JobSpec spec;
    std::string resume_checkpoint;  // empty: from the base model
    int64_t resume_step = 0;        // that it stands for, if later than its own
    absl::Duration call_timeout = absl::Seconds(30);
    torch::Device device = torch::kCPU;  // where the model is
  };
  // All outlive the run.
  struct Deps {
    LearnerPeers* peers;
    // The image becomes the newest version everywhere.
    std::function<void(std::shared_ptr<const weights::Image>)> publish;
    base::FileSystem* files;
    base::Clock* clock;
    base::WaitStateRegistry* waits;
    const LearnerMetrics* metrics;
    PairPeers* pairs = nullptr;  // of a job with data.pairs, for the rank that imports them
    // Of the attempt's ranks, not joined yet; null: the run is alone. Every rank makes the same
    // steps with its slices of the batches. Rank 0 publishes, reports, registers and acknowledges;
    // the others follow its word and write their part of each checkpoint.
    collectives::ProcessGroup* group = nullptr;
  };
  LearnerRun(Options options, Deps deps);
  ~LearnerRun();

  // OK when the run came to its own end: trained, failed for good and said so to the coordinator,
  // or was told to stop. An error means that the ranks lost each other (group->broken()), or that
  // the coordinator or replay has turned to another attempt, or knows the job no more: what comes
  // next is their decision.
  absl::Status Run();

  // kDrain and kAbandon are final. `why` kAbandon: what breaks off the other ranks' operations.
  void SetDesired(Desired desired, const std::string& why = "") ABSL_LOCKS_EXCLUDED(mutex_);

  // For the heartbeat: "step 12 of 120".
  std::string state() const ABSL_LOCKS_EXCLUDED(mutex_);
  int64_t version() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::Status JoinOthers();
  absl::Status Load();
  absl::Status RestoreOptimizer();
  absl::Status PublishLoaded();
  absl::Status Train();
  // What this rank is for; `fed` is the batch where it has it already.
  absl::StatusOr<Word> NextWord(BatchFeeder& feeder, std::optional<FedBatch>& fed);
  absl::StatusOr<FedBatch> OwnSlice(BatchFeeder& feeder);
  absl::StatusOr<training::StepOutcome> Step(const FedBatch& fed, absl::Duration waited);
  // To a store that draws by them.
  absl::Status TellPriorities(const std::vector<double>& priorities);
  absl::Status Publish(int64_t version);
  absl::StatusOr<StepAnswer> Report(const training::StepOutcome& outcome);
  absl::Status Checkpoint();
  absl::Status SettleCheckpoint(const std::string& path);
  absl::Status SettleResumed();
  // The newest step's weights are evaluated, and the best ones are kept.
  bool WillBeEvaluated() const;
  std::string checkpoints_folder() const;
  // The held-out pairs of data.pairs, at the newest step.
  absl::Status EvaluatePairs();
  // Replay may forget the batches up to the newest step.
  absl::Status Acknowledge();
  absl::Status Finish(bool succeeded, std::string reason);
  // Waits while paused. False: stop.
  bool MayContinue() ABSL_LOCKS_EXCLUDED(mutex_);
  // Repeats a call until it answers or the run is told to stop.
  absl::Status Persist(const std::string& what, const std::string& on_whom,
                       const std::function<absl::Status(absl::Time)>& call);
  // Notes in superseded_ what a peer's answer says of the attempt; returns it.
  absl::Status NotePeer(absl::Status status);
  void SetState(std::string state, int64_t version) ABSL_LOCKS_EXCLUDED(mutex_);
  bool leaving() const;
  bool leads() const { return deps_.group == nullptr || deps_.group->rank() == 0; }
  Desired desired() const ABSL_LOCKS_EXCLUDED(mutex_);

  const Options options_;
  const Deps deps_;
  std::unique_ptr<checkpoint::CheckpointFolder> base_;
  std::unique_ptr<training::PreferenceTrainer> trainer_;
  std::unique_ptr<PairRun> pairs_;  // null: the job has no data.pairs, or another rank imports them
  int64_t step_ = 0;                // made last
  int64_t resumed_step_ = 0;        // 0: from the base model
  int64_t checkpointed_step_ = -1;  // newest one on disk
  std::string checkpoint_path_;
  bool superseded_ = false;
  bool checkpoint_asked_ = false;  // by the coordinator, of several ranks
  std::string stop_;               // why the coordinator ends training early; empty: it doesn't
  mutable absl::Mutex mutex_;
  Desired desired_ ABSL_GUARDED_BY(mutex_) = Desired::kRun;
  std::string state_ ABSL_GUARDED_BY(mutex_) = "loading the model";
  int64_t version_ ABSL_GUARDED_BY(mutex_) = -1;
};

}  // namespace dtrpo::learner

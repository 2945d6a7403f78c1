// Thread safety: Run() is called once, from one thread; the setters may be called from any thread.
//
// One attempt at a job: from the base model (or a checkpoint) to the last step. Step n uses batch
// n.
//
//   for n:  batch n (fed ahead) -> step -> report -> [version: image, register, hand to the
//   publisher]
//                                        -> [checkpoint: write, register, acknowledge replay up to
//                                        n]
//
// Version v is the weights after step v * publish_every, so V(n) = floor((n-1) / publish_every) is
// what step n starts from when it is the first of its interval. A checkpoint at a step that
// publishes nothing resumes by publishing the version it finds: floor(n / publish_every).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/file_system.h"
#include "common/base/wait_states.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/job/job_spec.h"
#include "common/training/preference_trainer.h"
#include "common/weights/image.h"
#include "services/learner/learner_metrics.h"
#include "services/learner/learner_peers.h"

namespace dtrpo::learner {

// What the coordinator wants of the run at this moment.
//   kPause    write a checkpoint, then wait
//   kDrain    write a checkpoint, then return: the process is leaving, another attempt goes on from
//   there kAbandon  return: nobody wants the job any more
enum class Desired { kRun, kPause, kDrain, kAbandon };

class LearnerRun {
 public:
  struct Options {
    std::string job_id;
    std::string job_hash;  // of the resolved specification
    int32_t attempt = 1;
    job::JobSpec spec;
    std::string resume_checkpoint;  // empty: from the base model
    absl::Duration call_timeout = absl::Seconds(30);
  };
  // All outlive the run.
  struct Deps {
    LearnerPeers* peers;
    std::function<void(std::shared_ptr<const weights::Image>)>
        publish;  // becomes the newest version everywhere
    base::FileSystem* files;
    base::Clock* clock;
    base::WaitStateRegistry* waits;
    const LearnerMetrics* metrics;
  };
  LearnerRun(Options options, Deps deps);
  ~LearnerRun();

  // OK when the run came to its own end: trained, failed for good and said so to the coordinator,
  // or was told to stop. Otherwise the error that ended it; the coordinator will find out by itself
  // and grant another attempt.
  absl::Status Run();

  // kDrain and kAbandon are final.
  void SetDesired(Desired desired) ABSL_LOCKS_EXCLUDED(mutex_);

  // For the heartbeat: "step 12 of 120".
  std::string state() const ABSL_LOCKS_EXCLUDED(mutex_);
  int64_t version() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::Status Load();
  absl::Status TrainFrom(int64_t first_step);
  absl::Status Publish(int64_t step, int64_t version);
  absl::Status Checkpoint(int64_t step);
  absl::Status Finish(bool succeeded, const std::string& reason, int64_t step);
  // Waits while paused. False: stop.
  bool MayContinue(int64_t step) ABSL_LOCKS_EXCLUDED(mutex_);
  // Repeats a call until it answers or the run is told to stop.
  absl::Status Persist(const std::string& what, const std::string& on_whom,
                       const std::function<absl::Status(absl::Time)>& call);
  void SetState(std::string state, int64_t version) ABSL_LOCKS_EXCLUDED(mutex_);
  bool leaving() const;
  Desired desired() const ABSL_LOCKS_EXCLUDED(mutex_);

  const Options options_;
  const Deps deps_;
  std::unique_ptr<checkpoint::CheckpointFolder> base_;
  std::unique_ptr<training::PreferenceTrainer> trainer_;
  int64_t resumed_step_ = 0;        // 0: from the base model
  int64_t checkpointed_step_ = -1;  // newest one on disk
  std::string checkpoint_path_;
  mutable absl::Mutex mutex_;
  Desired desired_ ABSL_GUARDED_BY(mutex_) = Desired::kRun;
  std::string state_ ABSL_GUARDED_BY(mutex_) = "loading the model";
  int64_t version_ ABSL_GUARDED_BY(mutex_) = -1;
};

}  // namespace dtrpo::learner

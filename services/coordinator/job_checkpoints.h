// Not thread-safe: belongs to the coordinator's lock. Time comes in as an argument.
//
// The checkpoints of one job that are on disk, what their evaluations said, and what follows from
// both: which is the best, which the learner must not remove, whether training should stop early.
//
// A checkpoint stands for the job's weights after some step. Usually its folder is of that step;
// after a rollback the folder of an earlier step stands for the step that the job had come to,
// because batches and versions are numbered by steps and go on. The base model is as a checkpoint
// of step 0 without a folder.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/dtrpo/v1/coordinator.pb.h"

namespace dtrpo::coordinator {

struct SavedCheckpoint {
  int64_t step = -1;         // the job's weights after it; -1: none
  int64_t folder_step = -1;  // that the folder was written at
  std::string path;          // empty: the base model's
  absl::Time registered;

  template <typename Archive>
  void Kept(Archive& archive) {
    archive(step, folder_step, path, registered);
  }
};

class JobCheckpoints {
 public:
  struct Options {
    int32_t keep = 2;           // the newest
    bool keep_best = true;      // and that with the best evaluation
    int32_t stop_after = 0;     // evaluations in a row without a better one; 0: never
    int32_t publish_every = 1;  // steps per version
  };
  explicit JobCheckpoints(const Options& options) : options_(options) {}

  // FAILED_PRECONDITION when a later one is registered. `evaluating`: steps whose evaluation is
  // under way.
  absl::Status Register(int64_t step, const std::string& path,
                        const std::vector<int64_t>& evaluating, absl::Time now);
  // An evaluation of the weights after `step` is complete. Returns whether it is better than all
  // before.
  bool OnEvaluated(int64_t step, double accuracy);
  // The evaluations of steps from `step` on are void: others will be made of other weights.
  void ForgetEvaluationsFrom(int64_t step);

  // What a request asks for. FAILED_PRECONDITION lists what there is.
  absl::StatusOr<SavedCheckpoint> Find(const v1::RollBackJobRequest& request) const;
  // `target` stands for the newest one's step from now on.
  void RollBackTo(const SavedCheckpoint& target, absl::Time now);

  // Where a learner goes on; step -1: from the base model.
  const SavedCheckpoint& newest() const;
  // Step -1: none is evaluated yet.
  const SavedCheckpoint& best() const { return best_; }
  double best_accuracy() const { return best_accuracy_; }
  std::vector<SavedCheckpoint> All() const;  // by step
  // Steps of folders that must stay.
  std::vector<int64_t> KeptFolders() const;
  // Not empty: training should end, for this reason.
  const std::string& stop() const { return stop_; }

  template <typename Archive>
  void Kept(Archive& archive) {
    archive(saved_, accuracy_, best_, best_accuracy_, best_seen_, best_seen_step_, without_better_,
            stop_);
  }

 private:
  void ChooseBest();

  const Options options_;
  std::map<int64_t, SavedCheckpoint> saved_;  // by step
  std::map<int64_t, double> accuracy_;        // by step, of complete evaluations
  SavedCheckpoint best_;
  double best_accuracy_ = 0;
  // Of early stopping: the best of all evaluations, the base model's too.
  std::optional<double> best_seen_;
  int64_t best_seen_step_ = 0;
  int32_t without_better_ = 0;
  std::string stop_;
};

v1::CheckpointRecord ToRecord(const SavedCheckpoint& checkpoint);

}  // namespace dtrpo::coordinator

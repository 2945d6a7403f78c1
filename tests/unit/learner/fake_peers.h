// Thread safety: as LearnerPeers asks.
//
// The services of a learner in one object: batches that are a function of their number, true
// reference scores, and a record of what the learner did. Knobs are set before the learner runs.
#pragma once

#include <torch/utils.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/check.h"
#include "common/dtrpo/trajectory_scorer.h"
#include "services/learner/learner_peers.h"
#include "tests/support/tiny_checkpoint.h"

namespace dtrpo::learner {

class FakePeers : public LearnerPeers {
 public:
  // `reference` may be null: every score is then -1.
  explicit FakePeers(std::unique_ptr<model::Transformer> reference = nullptr)
      : reference_(std::move(reference)) {}

  int64_t last_batch = std::numeric_limits<int64_t>::max();
  int32_t pairs_per_batch = 2;
  int32_t publish_every = 1;
  // Called by each method with what it is about; an error is the answer.
  std::function<absl::Status(const std::string& call)> on_call;
  std::function<void(int64_t batch, std::vector<std::vector<float>>& scores)> spoil_scores;
  bool ask_for_checkpoint = false;
  int64_t stop_at_step = -1;
  std::vector<int64_t> keep_steps;

  // "version 1 at step 2", "step 3 at version 1", "checkpoint 3", "acknowledge 3",
  // "finished 6: all steps made", "failed 2: why".
  std::vector<std::string> calls() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return calls_;
  }
  void Note(const std::string& call) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    calls_.push_back(call);
  }
  // False after 10 s.
  bool AwaitCall(const std::string& call) const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    const auto seen = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return std::find(calls_.begin(), calls_.end(), call) != calls_.end();
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&seen), absl::Seconds(10));
  }
  std::string last_checkpoint() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return checkpoint_;
  }
  std::vector<StepReport> reports() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return reports_;
  }
  std::vector<weights::Manifest> manifests() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return manifests_;
  }

  absl::StatusOr<wire::Batch> GetBatch(int64_t step, absl::Time) override {
    if (absl::Status s = Answer(absl::StrCat("batch ", step)); !s.ok()) return s;
    if (step > last_batch) return absl::OutOfRangeError("end of data");
    wire::Batch batch;
    batch.number = step;
    batch.policy_version = (step - 1) / publish_every;
    batch.global_pairs = pairs_per_batch;
    for (int i = 0; i < pairs_per_batch; ++i) {
      batch.items.push_back({support::TinyPair(100 * step + i, batch.policy_version)});
    }
    batch.last = step == last_batch;
    return batch;
  }

  absl::StatusOr<std::vector<std::vector<float>>> Score(const wire::Batch& batch,
                                                        const trajectory::MaskPlanOptions& options,
                                                        absl::Time) override {
    if (absl::Status s = Answer(absl::StrCat("scores ", batch.number)); !s.ok()) return s;
    std::vector<std::vector<float>> scores;
    for (const wire::BatchItem& item : batch.items) {
      for (const trajectory::Trajectory* t : {&item.pair.chosen, &item.pair.rejected}) {
        scores.push_back(ScoreOne(*t, trajectory::MakeMaskPlan(*t, options, item.use_index)));
      }
    }
    if (spoil_scores) spoil_scores(batch.number, scores);
    return scores;
  }

  absl::Status RegisterVersion(const weights::Manifest& manifest, int64_t step,
                               absl::Time) override {
    {
      absl::MutexLock lock(&mutex_);
      manifests_.push_back(manifest);
    }
    return Act(absl::StrCat("version ", manifest.version, " at step ", step));
  }
  absl::StatusOr<StepAnswer> ReportStep(const StepReport& report, absl::Time) override {
    {
      absl::MutexLock lock(&mutex_);
      reports_.push_back(report);
    }
    if (absl::Status s = Act(absl::StrCat("step ", report.step, " at version ", report.version));
        !s.ok()) {
      return s;
    }
    return StepAnswer{.checkpoint_now = ask_for_checkpoint,
                      .stop = report.step == stop_at_step ? "stopped early: a test" : ""};
  }
  absl::StatusOr<std::vector<int64_t>> RegisterCheckpoint(int64_t step, const std::string& path,
                                                          absl::Time) override {
    {
      absl::MutexLock lock(&mutex_);
      checkpoint_ = path;
    }
    if (absl::Status s = Act(absl::StrCat("checkpoint ", step)); !s.ok()) return s;
    return keep_steps;
  }
  absl::Status Acknowledge(int64_t up_to_step, absl::Time) override {
    return Act(absl::StrCat("acknowledge ", up_to_step));
  }
  absl::Status UpdatePriorities(int64_t step, const std::vector<double>& priorities,
                                absl::Time) override {
    {
      absl::MutexLock lock(&mutex_);
      priorities_[step] = priorities;
    }
    return Act(absl::StrCat("priorities ", step));
  }
  std::map<int64_t, std::vector<double>> priorities() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return priorities_;
  }
  absl::Status FinishTraining(bool succeeded, const std::string& reason, const std::string&,
                              int64_t step, absl::Time) override {
    return Act(absl::StrCat(succeeded ? "finished " : "failed ", step, ": ", reason));
  }
  absl::Status LoseAttempt(const std::string& reason, absl::Time) override {
    return Act(absl::StrCat("attempt lost: ", reason));
  }

 private:
  absl::Status Answer(const std::string& call) {
    return on_call ? on_call(call) : absl::OkStatus();
  }
  absl::Status Act(const std::string& call) {
    Note(call);
    return Answer(call);
  }
  std::vector<float> ScoreOne(const trajectory::Trajectory& t, const trajectory::MaskPlan& plan) {
    if (reference_ == nullptr) return std::vector<float>(plan.target_count, -1);
    torch::NoGradGuard no_grad;
    const objective::ScoreInput input{&t, &plan};
    const auto scores =
        objective::ScoreTargets(*reference_, {&input, 1}, trajectory::Boundary::kClean);
    DTRPO_CHECK_OK(scores);
    const float* first = scores->const_data_ptr<float>();
    return {first, first + scores->numel()};
  }

  const std::unique_ptr<model::Transformer> reference_;
  mutable absl::Mutex mutex_;
  std::vector<std::string> calls_ ABSL_GUARDED_BY(mutex_);
  std::vector<StepReport> reports_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, std::vector<double>> priorities_ ABSL_GUARDED_BY(mutex_);
  std::vector<weights::Manifest> manifests_ ABSL_GUARDED_BY(mutex_);
  std::string checkpoint_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace dtrpo::learner

// Thread safety: all methods may be called from any thread.
//
// Brings every rollout to the newest weights version. The learner says which image is newest, the
// coordinator which rollouts there are and what they serve; the publisher's thread pushes to those
// that lag, so a late joiner, a rollout that missed a push and one that lost its weights again are
// one and the same case. A push that fails is tried again with back-off; the rollout serves its old
// version meanwhile. Pushes are made one after the other.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/wait_states.h"
#include "common/weights/image.h"
#include "services/learner/learner_metrics.h"

namespace dtrpo::learner {

struct RolloutTarget {
  std::string worker_id;
  std::string address;
  int64_t version = -1;  // as of its last heartbeat
};

class WeightsPublisher {
 public:
  // Pushes an image to one address; returns the version that serves there afterwards.
  using PushFunction = std::function<absl::StatusOr<int64_t>(const std::string& address,
                                                             const weights::Image& image)>;

  WeightsPublisher(PushFunction push, base::Clock* clock, base::WaitStateRegistry* waits,
                   const LearnerMetrics* metrics);
  ~WeightsPublisher();  // lets a push under way end, then joins

  void SetNewest(std::shared_ptr<const weights::Image> image) ABSL_LOCKS_EXCLUDED(mutex_);
  void SetRollouts(std::vector<RolloutTarget> rollouts) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // What a rollout got last, by number: an image that was replaced is freed at once.
  struct Delivery {
    int64_t version = -1;
    int64_t generation = -1;
    absl::Time report_due = absl::InfinitePast();  // by then its heartbeats tell of the delivery
    absl::Time not_before = absl::InfinitePast();  // after a failure: no push before
    absl::Duration backoff;
  };
  struct Due {
    RolloutTarget target;
    std::shared_ptr<const weights::Image> image;
  };
  bool Lags(const RolloutTarget& target) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  // Waits for a rollout that lags; nullopt: stop.
  std::optional<Due> AwaitDue() ABSL_LOCKS_EXCLUDED(mutex_);
  void Deliver(const Due& due) ABSL_LOCKS_EXCLUDED(mutex_);

  const PushFunction push_;
  base::Clock* const clock_;
  base::WaitStateRegistry* const waits_;
  const LearnerMetrics* const metrics_;
  absl::Mutex mutex_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  bool changed_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<const weights::Image> newest_ ABSL_GUARDED_BY(mutex_);
  std::vector<RolloutTarget> rollouts_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Delivery> deliveries_ ABSL_GUARDED_BY(mutex_);  // by worker id
  std::thread thread_;
};

}  // namespace dtrpo::learner

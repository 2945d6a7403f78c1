// Thread safety: Next() is for one thread; the feeder's own thread does the rest.
//
// Fetches batch n+1 and its reference scores while the learner computes step n, so that neither
// waits for the other. Asks for as long as it lives: whether to give up is the coordinator's
// decision, and the wait is visible.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/bounded_queue.h"
#include "common/base/clock.h"
#include "common/base/stop_signal.h"
#include "common/base/wait_states.h"
#include "common/trajectory/mask_plan.h"
#include "services/learner/learner_peers.h"

namespace dtrpo::learner {

struct FedBatch {
  wire::Batch batch;
  std::vector<std::vector<float>> reference;  // two per item: chosen, rejected
  absl::Duration fetch_time;                  // waiting for replay included
  absl::Duration score_time;
};

class BatchFeeder {
 public:
  struct Options {
    int64_t first_step = 1;
    int64_t last_step = 1;
    trajectory::MaskPlanOptions plan;
    absl::Duration call_timeout = absl::Seconds(30);
    // One question for a batch waits so long for items to arrive: a feeder that is to end, and a
    // store that wants a checkpoint, are noticed within that time.
    absl::Duration longest_poll = absl::Seconds(2);
    int batches_ahead = 1;
  };
  // Everything passed in outlives the feeder.
  BatchFeeder(const Options& options, LearnerPeers* peers, base::Clock* clock,
              base::WaitStateRegistry* waits);
  ~BatchFeeder();  // stops and joins: a call under way ends first

  // The next batch in order. DEADLINE_EXCEEDED: none yet, ask again. OUT_OF_RANGE: last_step, or
  // the last batch of the data, was handed out already. Any other error is final.
  absl::StatusOr<FedBatch> Next(absl::Time deadline);

  // The store is full of batches that no checkpoint contains: the batch under way won't come before
  // one is made and acknowledged.
  bool checkpoint_wanted() const { return checkpoint_wanted_; }

  // Batches that Next() would answer with at once.
  size_t ready() const { return queue_.size(); }

 private:
  // A final error, or the end, travels as the last entry.
  struct Entry {
    absl::Status status;
    FedBatch batch;
  };
  void Run();
  absl::StatusOr<FedBatch> Fetch(int64_t step);
  // Repeats a call, registered as a wait, until it answers for good or the feeder ends.
  template <typename Call>
  auto Persist(const std::string& what, const std::string& on_whom, Call call) -> decltype(call());
  void Hand(Entry entry);

  const Options options_;
  LearnerPeers* const peers_;
  base::Clock* const clock_;
  base::WaitStateRegistry* const waits_;
  std::atomic<bool> checkpoint_wanted_ = false;
  base::StopSignal stop_;
  base::BoundedQueue<Entry> queue_;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace dtrpo::learner

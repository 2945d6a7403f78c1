// The services a learner talks to, as it sees them. Implementations are thread-safe: the feeder
// thread fetches and scores while the loop steps and reports. Tests put a fake here; grpc_peers.h
// is the real one.
//
// Every call has a deadline. UNAVAILABLE and DEADLINE_EXCEEDED may be tried again: each call is
// idempotent. FAILED_PRECONDITION with reason "stale_attempt": another learner has taken over; the
// run ends.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/trajectory/mask_plan.h"
#include "common/weights/manifest.h"
#include "common/wire/replay_client.h"

namespace dtrpo::learner {

struct StepReport {
  int64_t step = 0;
  int64_t version = 0;
  std::map<std::string, double> values;
};

// What the coordinator answers to a step.
struct StepAnswer {
  bool checkpoint_now = false;  // the store is nearly full
  std::string stop;             // not empty: the step was the last one, for this reason
};

class LearnerPeers {
 public:
  virtual ~LearnerPeers() = default;

  // UNAVAILABLE, reason "not_enough_items": the rollouts haven't made enough yet.
  virtual absl::StatusOr<wire::Batch> GetBatch(int64_t step, absl::Time deadline) = 0;
  virtual absl::Status Acknowledge(int64_t up_to_step, absl::Time deadline) = 0;
  // How much this rank wants to see each item of its slice again, in the slice's order.
  virtual absl::Status UpdatePriorities(int64_t step, const std::vector<double>& priorities,
                                        absl::Time deadline) = 0;

  // Reference log-probabilities of each item's chosen and rejected answer, in that order, in plan
  // order.
  virtual absl::StatusOr<std::vector<std::vector<float>>> Score(
      const wire::Batch& batch, const trajectory::MaskPlanOptions& plan, absl::Time deadline) = 0;

  virtual absl::Status RegisterVersion(const weights::Manifest& manifest, int64_t step,
                                       absl::Time deadline) = 0;
  virtual absl::StatusOr<StepAnswer> ReportStep(const StepReport& report, absl::Time deadline) = 0;
  // Returns the steps of checkpoint folders that must stay for now, beside the newest ones.
  virtual absl::StatusOr<std::vector<int64_t>> RegisterCheckpoint(int64_t step,
                                                                  const std::string& path,
                                                                  absl::Time deadline) = 0;
  virtual absl::Status FinishTraining(bool succeeded, const std::string& reason,
                                      const std::string& checkpoint, int64_t step,
                                      absl::Time deadline) = 0;
  // The ranks lost each other and nobody else has noticed: the job goes on with another attempt.
  virtual absl::Status LoseAttempt(const std::string& reason, absl::Time deadline) = 0;
};

}  // namespace dtrpo::learner

// Not thread-safe: belongs to the coordinator's lock.
//
// The states of one job and the only ways between them. Pure state: knows no workers, no clock, no
// wire.
//
//   submit --1--> PENDING ---2--> RUNNING ---7--> SUCCEEDED
//                                 |  ^  |  ^
//                                 3  4  5  6
//                                 v  |  v  |
//                              PAUSED   RESTARTING
//                                 |        ^
//                                 +---5----+
//
//   from each of these but SUCCEEDED: ---8--> FAILED, ---9--> CANCELLED
//
//   1. Accepted: files read and checked. `reason` says what is missing.
//   2. Its turn in the queue, a learner granted (attempt 1), a rollout and a reference registered,
//      replay opened.
//   3. A client asks. No leases, no batches; running leases finish; the learner checkpoints and
//      waits. Also from RESTARTING.
//   4. A client asks, and the learner is still there.
//   5. The learner is gone (silent too long, or another process in its place), or the replay store
//      lost the batches it works on, while RUNNING; or a job that lost it while PAUSED is resumed.
//   6. Another learner granted, with the next attempt number: requests of the attempt before are
//      refused from now on.
//   7. The learner finished and the final evaluation is complete, or can't be had (then `reason`
//      says why).
//   8. The learner gave up, the attempts are used up, or the data gives no pairs.
//   9. A client asks. Checkpoints stay, everything else of the job is deleted.
//
// A job of kind eval needs rollouts only: 2 waits for one, there are no other attempts (3 and 4 are
// as above), and 7 is when its results are written.
//
// A client may also end the attempt, so that another one begins from an earlier checkpoint: 5, but
// not counted against the attempts that failures may use up.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace dtrpo::coordinator {

enum class JobState { kPending, kRunning, kPaused, kRestarting, kSucceeded, kFailed, kCancelled };

const char* Name(JobState state);  // "PENDING", ...
bool IsFinal(JobState state);

class Job {
 public:
  explicit Job(int32_t max_attempts) : max_attempts_(max_attempts) {}

  JobState state() const { return state_; }
  bool final() const { return IsFinal(state_); }
  const std::string& reason() const { return reason_; }
  int32_t attempt() const { return attempt_; }  // 0 before the first learner
  bool has_learner() const { return has_learner_; }

  // What the job waits for, in words; shown beside a state that isn't final. Returns true when the
  // words changed.
  bool Explain(std::string reason);

  // 2 and 6: a learner takes the job with the next attempt number. REQUIRES: PENDING or RESTARTING.
  void GrantLearner();
  // 5. Fails the job (8) when its attempts are used up. No-op without a learner.
  void LoseLearner(const std::string& why);
  // The attempt is ended on purpose. REQUIRES: RUNNING, PAUSED or RESTARTING.
  void EndAttempt(const std::string& why);

  absl::Status Pause();   // FAILED_PRECONDITION unless RUNNING or RESTARTING; no-op when PAUSED
  absl::Status Resume();  // FAILED_PRECONDITION unless PAUSED; no-op when RUNNING

  // 7, 8, 9. REQUIRES: not final.
  void Succeed(std::string reason);
  void Fail(std::string reason);
  void Cancel(std::string reason);

  // Fencing: OK for the granted attempt; FAILED_PRECONDITION with reason "stale_attempt" for
  // another one or a final job.
  absl::Status CheckAttempt(int32_t attempt) const;

  // See kept_state.h.
  template <typename Archive>
  void Kept(Archive& archive) {
    archive(state_, reason_, attempt_, has_learner_, ended_on_purpose_, gone_);
  }

 private:
  void MoveTo(JobState to, std::string reason);

  const int32_t max_attempts_;
  JobState state_ = JobState::kPending;
  std::string reason_;
  int32_t attempt_ = 0;
  bool has_learner_ = false;
  int32_t ended_on_purpose_ = 0;  // attempts
  std::string gone_;              // why there is no learner any more while PAUSED
};

}  // namespace dtrpo::coordinator

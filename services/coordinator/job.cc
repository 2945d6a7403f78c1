#include "services/coordinator/job.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/retry_after.h"

namespace dtrpo::coordinator {
namespace {

bool IsLegal(JobState from, JobState to) {
  if (IsFinal(from)) return false;
  switch (to) {
    case JobState::kPending:
      return false;
    case JobState::kRunning:
      return true;  // 2, 4, 6
    case JobState::kPaused:
      return from == JobState::kRunning || from == JobState::kRestarting;
    case JobState::kRestarting:
      return from == JobState::kRunning || from == JobState::kPaused;
    case JobState::kSucceeded:
      return from != JobState::kPending;
    case JobState::kFailed:
    case JobState::kCancelled:
      return true;
  }
  return false;
}

}  // namespace

const char* Name(JobState state) {
  switch (state) {
    case JobState::kPending:
      return "PENDING";
    case JobState::kRunning:
      return "RUNNING";
    case JobState::kPaused:
      return "PAUSED";
    case JobState::kRestarting:
      return "RESTARTING";
    case JobState::kSucceeded:
      return "SUCCEEDED";
    case JobState::kFailed:
      return "FAILED";
    case JobState::kCancelled:
      return "CANCELLED";
  }
  return "?";
}

bool IsFinal(JobState state) {
  return state == JobState::kSucceeded || state == JobState::kFailed ||
         state == JobState::kCancelled;
}

void Job::MoveTo(JobState to, std::string reason) {
  DTRPO_CHECK(IsLegal(state_, to)) << Name(state_) << " -> " << Name(to);
  state_ = to;
  reason_ = std::move(reason);
  if (IsFinal(to)) has_learner_ = false;
}

bool Job::Explain(std::string reason) {
  if (final() || reason == reason_) return false;
  reason_ = std::move(reason);
  return true;
}

void Job::GrantLearner() {
  DTRPO_CHECK(state_ == JobState::kPending || state_ == JobState::kRestarting) << Name(state_);
  ++attempt_;
  has_learner_ = true;
  MoveTo(JobState::kRunning, "");
}

void Job::LoseLearner(const std::string& why) {
  if (!has_learner_) return;
  has_learner_ = false;
  const int32_t allowed = max_attempts_ + ended_on_purpose_;
  if (attempt_ >= allowed) {
    Fail(absl::StrCat(why, "; that was attempt ", attempt_, " of ", allowed));
    return;
  }
  if (state_ == JobState::kRunning) MoveTo(JobState::kRestarting, why);
  // PAUSED stays PAUSED: Resume() then finds that the learner is gone.
  gone_ = why;
}

void Job::EndAttempt(const std::string& why) {
  DTRPO_CHECK(IsLegal(state_, JobState::kRestarting) || state_ == JobState::kRestarting)
      << Name(state_);
  if (has_learner_) ++ended_on_purpose_;
  has_learner_ = false;
  gone_ = why;
  if (state_ == JobState::kRunning) MoveTo(JobState::kRestarting, why);
}

absl::Status Job::Pause() {
  if (state_ == JobState::kPaused) return absl::OkStatus();
  if (state_ != JobState::kRunning && state_ != JobState::kRestarting) {
    return absl::FailedPreconditionError(
        absl::StrCat("a job that is ", Name(state_), " can't be paused"));
  }
  MoveTo(JobState::kPaused, "paused by a client");
  return absl::OkStatus();
}

absl::Status Job::Resume() {
  if (state_ == JobState::kRunning || state_ == JobState::kRestarting) return absl::OkStatus();
  if (state_ != JobState::kPaused) {
    return absl::FailedPreconditionError(
        absl::StrCat("a job that is ", Name(state_), " can't be resumed"));
  }
  if (has_learner_) {
    MoveTo(JobState::kRunning, "");
  } else {
    MoveTo(JobState::kRestarting, gone_);
  }
  return absl::OkStatus();
}

void Job::Succeed(std::string reason) { MoveTo(JobState::kSucceeded, std::move(reason)); }
void Job::Fail(std::string reason) { MoveTo(JobState::kFailed, std::move(reason)); }
void Job::Cancel(std::string reason) { MoveTo(JobState::kCancelled, std::move(reason)); }

absl::Status Job::CheckAttempt(int32_t attempt) const {
  if (!final() && attempt == attempt_) return absl::OkStatus();
  absl::Status status = absl::FailedPreconditionError(
      final() ? absl::StrCat("the job is ", Name(state_))
              : absl::StrCat("learner attempt ", attempt, ": attempt ", attempt_, " is granted"));
  base::SetReason(status, "stale_attempt");
  return status;
}

}  // namespace dtrpo::coordinator

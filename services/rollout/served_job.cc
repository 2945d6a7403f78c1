#include "services/rollout/served_job.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace dtrpo::rollout {

void ServedJobSlot::Put(std::shared_ptr<const ServedJob> job) {
  absl::MutexLock lock(&mutex_);
  job_ = std::move(job);
}

void ServedJobSlot::Clear(std::string why) {
  std::shared_ptr<const ServedJob> last;  // let go of after the lock: it may free the weights
  absl::MutexLock lock(&mutex_);
  last = std::move(job_);
  job_ = nullptr;
  why_ = std::move(why);
}

absl::StatusOr<std::shared_ptr<const ServedJob>> ServedJobSlot::Get() const {
  absl::MutexLock lock(&mutex_);
  if (job_ != nullptr) return job_;
  return absl::FailedPreconditionError(absl::StrCat("this rollout ", why_));
}

}  // namespace dtrpo::rollout

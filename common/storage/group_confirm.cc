#include "common/storage/group_confirm.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace dtrpo::storage {

GroupConfirm::GroupConfirm(Work work, SyncObserver observer)
    : work_(std::move(work)), observer_(std::move(observer)), thread_([this] { Run(); }) {}

GroupConfirm::~GroupConfirm() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    work_wanted_.Signal();
  }
  thread_.join();
}

void GroupConfirm::Want(int64_t sequence) {
  if (wanted_ >= sequence) return;
  wanted_ = sequence;
  work_wanted_.Signal();
}

void GroupConfirm::Begin(int64_t sequence) {
  absl::MutexLock lock(&mutex_);
  Want(sequence);
}

void GroupConfirm::Note(std::string trouble) {
  absl::MutexLock lock(&mutex_);
  trouble_ = std::move(trouble);
}

absl::Status GroupConfirm::Await(int64_t sequence, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  absl::MutexLock lock(&mutex_);
  while (done_ < sequence) {
    if (!failed_.ok()) return failed_;
    Want(sequence);
    if (work_done_.WaitWithDeadline(&mutex_, deadline) && done_ < sequence && failed_.ok()) {
      return absl::DeadlineExceededError(
          absl::StrCat("not durable after ", absl::FormatDuration(timeout),
                       trouble_.empty() ? "" : absl::StrCat(": ", trouble_)));
    }
  }
  return absl::OkStatus();
}

int64_t GroupConfirm::done() const {
  absl::MutexLock lock(&mutex_);
  return done_;
}

void GroupConfirm::Run() {
  absl::MutexLock lock(&mutex_);
  for (;;) {
    while (!stopping_ && (wanted_ <= done_ || !failed_.ok())) work_wanted_.Wait(&mutex_);
    if (stopping_) return;
    mutex_.Unlock();
    int64_t done_up_to = 0;
    const absl::Time started = absl::Now();
    const absl::Status status = work_(&done_up_to);
    const absl::Duration took = absl::Now() - started;
    mutex_.Lock();
    if (status.ok() && observer_) observer_(took, std::max<int64_t>(0, done_up_to - done_));
    if (status.ok()) {
      done_ = std::max(done_, done_up_to);
    } else {
      failed_ = status;
    }
    work_done_.SignalAll();
  }
}

}  // namespace dtrpo::storage

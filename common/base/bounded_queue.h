// A FIFO queue with a fixed capacity. Thread-safe, any number of producers and consumers.
// The bound is the point: a full queue is told to the producer as back-pressure, never grown.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/check.h"
#include "common/base/clock.h"

namespace dtrpo::base {

template <typename T>
class BoundedQueue {
 public:
  // REQUIRES: capacity >= 1. `clock` outlives the queue.
  explicit BoundedQueue(size_t capacity, Clock* clock = RealClock())
      : capacity_(capacity), clock_(clock) {
    DTRPO_CHECK_GE(capacity, size_t{1});
  }
  BoundedQueue(const BoundedQueue&) = delete;
  BoundedQueue& operator=(const BoundedQueue&) = delete;

  // False when full or closed; `item` is then left as it was.
  bool TryPush(T&& item) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (closed_ || items_.size() >= capacity_) return false;
    items_.push_back(std::move(item));
    return true;
  }

  // DEADLINE_EXCEEDED when full until the deadline, CANCELLED when closed; `item` is then lost.
  absl::Status Push(T item, absl::Time deadline) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return closed_ || items_.size() < capacity_;
    };
    if (!clock_->AwaitUntil(&mutex_, absl::Condition(&ready), deadline)) {
      return absl::DeadlineExceededError("queue stayed full");
    }
    if (closed_) return absl::CancelledError("queue is closed");
    items_.push_back(std::move(item));
    return absl::OkStatus();
  }

  std::optional<T> TryPop() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (items_.empty()) return std::nullopt;
    return TakeFront();
  }

  // DEADLINE_EXCEEDED when empty until the deadline; CANCELLED when closed and empty.
  absl::StatusOr<T> Pop(absl::Time deadline) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return closed_ || !items_.empty(); };
    if (!clock_->AwaitUntil(&mutex_, absl::Condition(&ready), deadline)) {
      return absl::DeadlineExceededError("queue stayed empty");
    }
    if (items_.empty()) return absl::CancelledError("queue is closed");
    return TakeFront();
  }

  // Refuses further pushes and wakes all waiters; what is inside can still be popped. Idempotent.
  void Close() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
  }

  size_t size() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::ReaderMutexLock lock(&mutex_);
    return items_.size();
  }
  size_t capacity() const { return capacity_; }

 private:
  T TakeFront() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    T item = std::move(items_.front());
    items_.pop_front();
    return item;
  }

  const size_t capacity_;
  Clock* const clock_;
  mutable absl::Mutex mutex_;
  std::deque<T> items_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace dtrpo::base

// Many wait, one works: everybody whose step isn't durable yet waits for the same next fsync.
// Thread-safe.
//
//   Await(7) --+             +-- Await(7) returns
//   Await(9) --+-- work() ---+-- Await(9) returns     work() made everything up to 9 durable
//                  ^
//         Await(12): the next one; it begins when this one has ended
//
// The work is done by a thread of this object, so that a waiter keeps his deadline when the disk
// doesn't answer.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/storage/storage_engine.h"

namespace dtrpo::storage {

class GroupConfirm {
 public:
  // `work` makes durable what was written before it was called, and returns up to where that is.
  // Called by one thread at a time.
  using Work = std::function<absl::Status(int64_t* done_up_to)>;
  explicit GroupConfirm(Work work, SyncObserver observer = nullptr);
  ~GroupConfirm();  // waits for work that is under way

  // Work for `sequence` begins as soon as it can; doesn't wait.
  void Begin(int64_t sequence);
  // What keeps the work, for the message of a deadline; empty: nothing.
  void Note(std::string trouble);

  // DEADLINE_EXCEEDED after `timeout`. Once work has failed, its error for ever: after a failed
  // fsync nobody knows what is on the disk, and a second one that succeeds proves nothing.
  absl::Status Await(int64_t sequence, absl::Duration timeout);
  int64_t done() const;

 private:
  void Run();

  void Want(int64_t sequence) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Work work_;
  const SyncObserver observer_;
  mutable absl::Mutex mutex_;
  int64_t wanted_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t done_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status failed_ ABSL_GUARDED_BY(mutex_);
  std::string trouble_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::CondVar work_wanted_;
  absl::CondVar work_done_;
  std::thread thread_;
};

}  // namespace dtrpo::storage

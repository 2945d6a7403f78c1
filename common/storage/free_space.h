// Watches how much room a disk has, so that a store says "disk full" before a write fails half-way.
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace dtrpo::storage {

class FreeSpace {
 public:
  // `min_free_bytes` 0: Check() never fails.
  FreeSpace(std::string folder, int64_t min_free_bytes);

  // RESOURCE_EXHAUSTED "disk_full" with a retry-after while there is less room than that. Asks the
  // disk at most once per second or written 16 MiB.
  absl::Status Check();
  void Count(int64_t written_bytes) { unseen_bytes_ += written_bytes; }
  int64_t Now() const;  // -1: can't be told

 private:
  const std::string folder_;
  const int64_t min_free_bytes_;
  std::atomic<int64_t> unseen_bytes_ = 0;
  std::atomic<int64_t> asked_unix_ms_ = 0;
  std::atomic<int64_t> free_bytes_ = -1;
};

}  // namespace dtrpo::storage

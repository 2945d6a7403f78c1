#include "common/storage/free_space.h"

#include <sys/statvfs.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/fault_points.h"
#include "common/base/retry_after.h"
#include "common/storage/storage_engine.h"

namespace dtrpo::storage {
namespace {

constexpr int64_t kAskAfterBytes = 16 << 20;
constexpr int64_t kAskAfterMs = 1000;
constexpr absl::Duration kRetryAfter = absl::Seconds(2);

}  // namespace

FreeSpace::FreeSpace(std::string folder, int64_t min_free_bytes)
    : folder_(std::move(folder)), min_free_bytes_(min_free_bytes) {}

int64_t FreeSpace::Now() const {
  struct statvfs disk;
  if (::statvfs(folder_.c_str(), &disk) != 0) return -1;
  return static_cast<int64_t>(disk.f_bavail) * static_cast<int64_t>(disk.f_frsize);
}

absl::Status FreeSpace::Check() {
  if (!base::HitFaultPoint("storage.disk_full").ok()) {
    return base::BackPressureError(absl::StrCat(folder_, ": the disk is full (fault point)"),
                                   kDiskFull, kRetryAfter);
  }
  if (min_free_bytes_ <= 0) return absl::OkStatus();
  const int64_t now = absl::ToUnixMillis(absl::Now());
  // A clock that was set back asks too often for a while.
  const int64_t since_ms = now - asked_unix_ms_.load();
  if (unseen_bytes_.load() >= kAskAfterBytes || since_ms >= kAskAfterMs || since_ms < 0) {
    asked_unix_ms_ = now;
    unseen_bytes_ = 0;
    free_bytes_ = Now();
  }
  const int64_t free_bytes = free_bytes_.load();
  if (free_bytes < 0 || free_bytes >= min_free_bytes_) return absl::OkStatus();
  return base::BackPressureError(
      absl::StrCat(folder_, ": the disk has ", free_bytes, " bytes left, fewer than the ",
                   min_free_bytes_, " that are kept free"),
      kDiskFull, kRetryAfter);
}

}  // namespace dtrpo::storage

// Thread safety: all methods may be called from any thread.
//
// The versions a process holds. The newest is served; older ones stay while someone pins them (an
// evaluation under way) or still holds the shared_ptr (a sequence that started with it).
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/weights/image.h"

namespace dtrpo::weights {

class VersionStore {
 public:
  // The image becomes the newest. The same bits again are a no-op; a lower number, or other bits
  // without a higher generation, are FAILED_PRECONDITION.
  absl::Status Install(std::shared_ptr<const Image> image) ABSL_LOCKS_EXCLUDED(mutex_);

  // Null when nothing is held.
  std::shared_ptr<const Image> Newest() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Null when that version isn't held.
  std::shared_ptr<const Image> Find(int64_t version) const ABSL_LOCKS_EXCLUDED(mutex_);
  // -1 when nothing is held.
  int64_t NewestVersion() const ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<int64_t> Held() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Keeps `versions` and the newest, lets go of the others. Versions not held are ignored.
  void KeepOnly(absl::Span<const int64_t> versions) ABSL_LOCKS_EXCLUDED(mutex_);

  // Forgets everything (the job is over).
  void Clear() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  mutable absl::Mutex mutex_;
  std::map<int64_t, std::shared_ptr<const Image>> images_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace dtrpo::weights

// Thread safety: not thread-safe; one owner per root folder. No torch.
//
// The checkpoints of one job under one root:
//
//   <root>/step-00000040/   complete folders (checkpoint_writer.h)
//   <root>/step-00000080/
//   <root>/latest           a file with the name of one of them, replaced atomically
//
// `latest` is only ever set to a complete folder, and the folder it names is never removed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/file_system.h"

namespace dtrpo::checkpoint {

struct RetainedCheckpoint {
  int64_t step = 0;
  std::string path;
};

class CheckpointRoot {
 public:
  // `files` outlives the object. The folder is made when first written to.
  CheckpointRoot(base::FileSystem* files, std::string root);

  // <root>/step-<8 digits or more>. REQUIRES: step >= 0.
  std::string PathOf(int64_t step) const;

  // Complete ones, oldest first; others are left out. A root that is not there has none.
  absl::StatusOr<std::vector<RetainedCheckpoint>> List() const;

  // FAILED_PRECONDITION or NOT_FOUND when that step's folder is not complete.
  absl::Status SetLatest(int64_t step);
  // What `latest` names; when the pointer is missing, unreadable or names no complete folder, the
  // newest complete one. NOT_FOUND: there is none.
  absl::StatusOr<RetainedCheckpoint> Latest() const;

  // Removes all but the newest `keep`, sparing the one that `latest` names and steps in `pinned`.
  // Returns the steps removed. keep >= 1.
  absl::StatusOr<std::vector<int64_t>> Prune(int keep, const std::vector<int64_t>& pinned = {});

  // Removes what interrupted writers and removals left behind.
  absl::Status RemoveLeftovers();

 private:
  absl::StatusOr<std::string> ReadPointer() const;

  base::FileSystem* const files_;
  const std::string root_;
};

}  // namespace dtrpo::checkpoint

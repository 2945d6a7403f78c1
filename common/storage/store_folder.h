// The folder of a store on disk: one process at a time, and a format version that is read before
// anything else. Not thread-safe.
//
//   <folder>/FORMAT   "dtrpo store, format 1" in text
//   <folder>/LOCK     held while a process has the store open
//   <folder>/db/      RocksDB's files
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/file_system.h"

namespace dtrpo::storage {

// Raised with every change of what the keys and values mean, together with a migration from the
// version before, or words that say why there is none.
inline constexpr int kStoreFormat = 1;

class StoreFolder {
 public:
  // Makes the folder when it isn't there. FAILED_PRECONDITION when another process has it open, it
  // holds something else, or its format isn't this program's.
  static absl::StatusOr<StoreFolder> Open(base::FileSystem* files, const std::string& path);
  ~StoreFolder();
  StoreFolder(StoreFolder&& other) noexcept;
  StoreFolder& operator=(StoreFolder&& other) noexcept;

  const std::string& path() const { return path_; }
  std::string database() const { return base::JoinPath(path_, "db"); }

 private:
  StoreFolder(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}

  std::string path_;
  int lock_ = -1;  // file descriptor
};

}  // namespace dtrpo::storage

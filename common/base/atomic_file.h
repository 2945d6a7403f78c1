// Files that are either wholly there or not there at all, also after power loss. Not thread-safe.
// Order: write <path>.tmp, sync it, rename it over <path>, sync the folder.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/file_system.h"

namespace dtrpo::base {

class AtomicFile {
 public:
  // `files` outlives the object. Two writers of one path at the same time are not supported.
  static absl::StatusOr<std::unique_ptr<AtomicFile>> Create(FileSystem* files, std::string path);
  // Removes the temporary file when Commit() was not reached.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  absl::Status Append(absl::string_view data) { return file_->Append(data); }
  // After OK the new content is what anybody reads, for ever. Call once.
  absl::Status Commit();

 private:
  AtomicFile(FileSystem* files, std::string path, std::string temporary_path,
             std::unique_ptr<WritableFile> file);

  FileSystem* const files_;
  const std::string path_;
  const std::string temporary_path_;
  std::unique_ptr<WritableFile> file_;
  bool committed_ = false;
};

// The whole of `data` becomes the content of `path`.
absl::Status WriteFileAtomically(FileSystem* files, const std::string& path,
                                 absl::string_view data);

}  // namespace dtrpo::base

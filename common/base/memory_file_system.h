// A file system in memory, for tests; it can lose power. Thread-safe.
// Keeps for every file and folder both what programs see and what the disk would hold after power
// loss, so a test can show that a writer syncs in the right order.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/file_system.h"

namespace dtrpo::base {

class MemoryFileSystem : public FileSystem {
 public:
  MemoryFileSystem();
  ~MemoryFileSystem() override;

  absl::StatusOr<std::string> Read(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<RandomAccessFile>> Open(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenToAppend(const std::string& path) override;
  bool Exists(const std::string& path) override;
  absl::StatusOr<bool> IsDirectory(const std::string& path) override;
  absl::StatusOr<uint64_t> FileSizeBytes(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& directory) override;
  absl::Status MakeDirectories(const std::string& directory) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status RemoveFile(const std::string& path) override;
  absl::Status RemoveTree(const std::string& path) override;
  absl::Status SyncDirectory(const std::string& directory) override;

  // Drops everything that was not synced: data since the last Sync(), names since the last
  // SyncDirectory() of their folder. Folders themselves are durable from MakeDirectories on.
  void LosePower();

  // Called before every changing operation with its name ("append", "sync", "rename", ...) and
  // path; a status that isn't OK is returned to the caller instead. Null: no faults.
  using Fault = std::function<absl::Status(absl::string_view operation, const std::string& path)>;
  void set_fault(Fault fault) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Node;
  class Writer;
  class Reader;

  absl::Status CheckFault(absl::string_view operation, const std::string& path)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Null when absent.
  std::shared_ptr<Node> Find(const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::shared_ptr<Node>> FindFile(const std::string& path)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::shared_ptr<Node>> FindDirectory(const std::string& path)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenToWrite(const std::string& path, bool truncate);

  absl::Mutex mutex_;
  std::shared_ptr<Node> root_ ABSL_GUARDED_BY(mutex_);
  Fault fault_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace dtrpo::base

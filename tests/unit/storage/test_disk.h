// A disk under RocksDB that a test can break: it counts and delays syncs, gets full or read-only,
// and forgets what was never synced when the power goes. Thread-safe.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "rocksdb/env.h"
#include "rocksdb/file_system.h"

namespace dtrpo::storage {

class TestDisk : public rocksdb::FileSystemWrapper {
 public:
  enum class Failure { kNone, kFull, kReadOnly };

  TestDisk() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "TestDisk"; }

  // Writes and syncs fail like this from now on.
  void Break(Failure failure) { failure_ = failure; }
  // Syncs of the log wait until the other call.
  void HoldSyncs();
  void ReleaseSyncs();
  int log_syncs() const { return log_syncs_; }

  // The power goes: nothing is written any more, and nobody who writes notices.
  void CutPower() { powered_ = false; }
  // What a disk may show afterwards: of each file what was synced and `kept_share` (0 to 1) of what
  // was written after that; a new file whose folder was never synced is gone when the share is 0.
  void ForgetUnsynced(double kept_share);

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& path, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* directory,
                                 rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to,
                               const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;

 private:
  friend class TestFile;
  friend class TestDirectory;

  rocksdb::IOStatus CheckWritable() const;
  rocksdb::IOStatus BeforeSync(const std::string& path);
  void OnWritten(const std::string& path, uint64_t size);
  void OnSynced(const std::string& path, uint64_t size);
  void OnDirectorySynced();

  std::atomic<Failure> failure_ = Failure::kNone;
  std::atomic<bool> powered_ = true;
  std::atomic<int> log_syncs_ = 0;
  mutable absl::Mutex mutex_;
  bool hold_syncs_ ABSL_GUARDED_BY(mutex_) = false;
  struct Sizes {
    uint64_t written = 0;
    uint64_t synced = 0;
  };
  std::map<std::string, Sizes> files_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> unsynced_names_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace dtrpo::storage

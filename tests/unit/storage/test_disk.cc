#include "tests/unit/storage/test_disk.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/match.h"
#include "common/base/check.h"

namespace dtrpo::storage {

using rocksdb::FileOptions;
using rocksdb::FSDirectory;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

class TestFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  TestFile(TestDisk* disk, std::string path, std::unique_ptr<FSWritableFile> file)
      : FSWritableFileOwnerWrapper(std::move(file)), disk_(disk), path_(std::move(path)) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    if (!disk_->powered_) return IOStatus::OK();
    IOStatus status = disk_->CheckWritable();
    if (status.ok()) status = FSWritableFileOwnerWrapper::Append(data, options, debug);
    if (status.ok()) disk_->OnWritten(path_, written_ += data.size());
    return status;
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo&,
                  IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    const uint64_t size = written_;
    if (!disk_->powered_) return IOStatus::OK();
    IOStatus status = disk_->BeforeSync(path_);
    if (status.ok()) status = FSWritableFileOwnerWrapper::Sync(options, debug);
    if (status.ok()) disk_->OnSynced(path_, size);
    return status;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return Sync(options, debug);
  }

 private:
  TestDisk* const disk_;
  const std::string path_;
  std::atomic<uint64_t> written_ = 0;
};

class TestDirectory : public rocksdb::FSDirectoryWrapper {
 public:
  TestDirectory(TestDisk* disk, std::unique_ptr<FSDirectory> directory)
      : FSDirectoryWrapper(std::move(directory)), disk_(disk) {}
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    if (!disk_->powered_) return IOStatus::OK();
    const IOStatus status = disk_->CheckWritable();
    if (!status.ok()) return status;
    disk_->OnDirectorySynced();
    return FSDirectoryWrapper::Fsync(options, debug);
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug,
                               const rocksdb::DirFsyncOptions&) override {
    return Fsync(options, debug);
  }

 private:
  TestDisk* const disk_;
};

void TestDisk::HoldSyncs() {
  absl::MutexLock lock(&mutex_);
  hold_syncs_ = true;
}

void TestDisk::ReleaseSyncs() {
  absl::MutexLock lock(&mutex_);
  hold_syncs_ = false;
}

IOStatus TestDisk::CheckWritable() const {
  switch (failure_) {
    case Failure::kNone:
      return IOStatus::OK();
    case Failure::kFull:
      return IOStatus::NoSpace("No space left on device");
    case Failure::kReadOnly:
      return IOStatus::IOError("Read-only file system");
  }
  return IOStatus::OK();
}

IOStatus TestDisk::BeforeSync(const std::string& path) {
  if (absl::EndsWith(path, ".log")) {
    ++log_syncs_;
    absl::MutexLock lock(&mutex_);
    auto released = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !hold_syncs_; };
    DTRPO_CHECK(mutex_.AwaitWithTimeout(absl::Condition(&released), absl::Minutes(1)));
  }
  return CheckWritable();
}

void TestDisk::OnWritten(const std::string& path, uint64_t size) {
  absl::MutexLock lock(&mutex_);
  files_[path].written = size;
}

void TestDisk::OnSynced(const std::string& path, uint64_t size) {
  absl::MutexLock lock(&mutex_);
  files_[path].synced = size;
}

void TestDisk::OnDirectorySynced() {
  absl::MutexLock lock(&mutex_);
  unsynced_names_.clear();
}

void TestDisk::ForgetUnsynced(double kept_share) {
  absl::MutexLock lock(&mutex_);
  DTRPO_CHECK(!powered_);
  for (const auto& [path, sizes] : files_) {
    if (kept_share == 0 && unsynced_names_.count(path) > 0) {
      ::unlink(path.c_str());
      continue;
    }
    const auto kept =
        static_cast<uint64_t>(static_cast<double>(sizes.written - sizes.synced) * kept_share);
    DTRPO_CHECK_EQ(::truncate(path.c_str(), static_cast<off_t>(sizes.synced + kept)), 0);
  }
  files_.clear();
  unsynced_names_.clear();
  powered_ = true;
}

IOStatus TestDisk::NewWritableFile(const std::string& path, const FileOptions& options,
                                   std::unique_ptr<FSWritableFile>* file, IODebugContext* debug) {
  IOStatus status = CheckWritable();
  if (!status.ok()) return status;
  std::unique_ptr<FSWritableFile> real;
  // Without power the file is a dummy that ForgetUnsynced() removes.
  status = target()->NewWritableFile(powered_ ? path : path + ".never", options, &real, debug);
  if (!status.ok()) return status;
  *file = std::make_unique<TestFile>(this, path, std::move(real));
  if (!powered_) return status;
  absl::MutexLock lock(&mutex_);
  files_[path] = {};
  unsynced_names_.insert(path);
  return status;
}

IOStatus TestDisk::NewDirectory(const std::string& path, const IOOptions& options,
                                std::unique_ptr<FSDirectory>* directory, IODebugContext* debug) {
  std::unique_ptr<FSDirectory> real;
  const IOStatus status = target()->NewDirectory(path, options, &real, debug);
  if (status.ok()) *directory = std::make_unique<TestDirectory>(this, std::move(real));
  return status;
}

IOStatus TestDisk::RenameFile(const std::string& from, const std::string& to,
                              const IOOptions& options, IODebugContext* debug) {
  if (!powered_) return IOStatus::OK();
  IOStatus status = CheckWritable();
  if (!status.ok()) return status;
  status = target()->RenameFile(from, to, options, debug);
  if (!status.ok()) return status;
  absl::MutexLock lock(&mutex_);
  if (auto node = files_.extract(from)) {
    files_.erase(to);
    node.key() = to;
    files_.insert(std::move(node));
  }
  unsynced_names_.erase(from);
  return status;
}

IOStatus TestDisk::DeleteFile(const std::string& path, const IOOptions& options,
                              IODebugContext* debug) {
  if (!powered_) return IOStatus::OK();
  IOStatus status = CheckWritable();
  if (!status.ok()) return status;
  absl::MutexLock lock(&mutex_);
  files_.erase(path);
  unsynced_names_.erase(path);
  return target()->DeleteFile(path, options, debug);
}

}  // namespace dtrpo::storage

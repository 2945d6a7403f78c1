// Every use of the disk goes through FileSystem, so that a test can replace it. Thread-safe.
// The open-file classes are not thread-safe, but for RandomAccessFile::ReadAt.
//
// Paths are plain; "/" separates. Errors name the path. NOT_FOUND means that the path isn't there,
// RESOURCE_EXHAUSTED that the disk is full, PERMISSION_DENIED and INTERNAL speak for themselves.
//
// Durability: data survives power loss after WritableFile::Sync(), a new or renamed name after
// SyncDirectory() of its folder. atomic_file.h does both in the right order; use that.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace dtrpo::base {

class WritableFile {
 public:
  virtual ~WritableFile() = default;  // closes, ignoring errors
  virtual absl::Status Append(absl::string_view data) = 0;
  // Data and size reach the disk (fdatasync).
  virtual absl::Status Sync() = 0;
  virtual absl::Status Close() = 0;
};

class RandomAccessFile {
 public:
  virtual ~RandomAccessFile() = default;
  virtual uint64_t size_bytes() const = 0;
  // Fills `out` with `size` bytes from `offset`; OUT_OF_RANGE when the file ends before.
  // Thread-safe.
  virtual absl::Status ReadAt(uint64_t offset, size_t size, char* out) const = 0;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  virtual absl::StatusOr<std::string> Read(const std::string& path) = 0;
  virtual absl::StatusOr<std::unique_ptr<RandomAccessFile>> Open(const std::string& path) = 0;
  // Truncates a file that exists.
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) = 0;
  // Creates a file that doesn't exist, else writes after its end.
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> OpenToAppend(const std::string& path) = 0;

  // Of a file or a folder. False when it can't be told (no permission).
  virtual bool Exists(const std::string& path) = 0;
  virtual absl::StatusOr<bool> IsDirectory(const std::string& path) = 0;
  virtual absl::StatusOr<uint64_t> FileSizeBytes(const std::string& path) = 0;
  // Names (not paths) in a folder, sorted.
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& directory) = 0;

  // With its parents; OK when it exists.
  virtual absl::Status MakeDirectories(const std::string& directory) = 0;
  // Replaces a file `to`; a folder `to` must be absent or empty.
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  virtual absl::Status RemoveFile(const std::string& path) = 0;
  // With everything in it; OK when it is absent.
  virtual absl::Status RemoveTree(const std::string& path) = 0;
  // Makes names created, renamed or removed in `directory` durable.
  virtual absl::Status SyncDirectory(const std::string& directory) = 0;
};

// The real disk; lives for ever.
FileSystem* PosixFileSystem();

// The file's content; nullopt when it isn't there.
absl::StatusOr<std::optional<std::string>> ReadIfThere(FileSystem* files, const std::string& path);

// "a/b" of ("a", "b"); "b" of ("", "b").
std::string JoinPath(absl::string_view directory, absl::string_view name);
// The folder of a path: "a" of "a/b", "/" of "/b", "." of "b".
std::string ParentPath(absl::string_view path);
// The last part: "b" of "a/b".
std::string BaseName(absl::string_view path);

}  // namespace dtrpo::base

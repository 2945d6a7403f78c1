#include "common/base/memory_file_system.h"

#include <cstring>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"

namespace dtrpo::base {

// A file (data) or a folder (names); `durable_*` is what power loss leaves.
struct MemoryFileSystem::Node {
  explicit Node(bool directory) : is_directory(directory) {}

  void LosePower() {
    data = durable_data;
    names = durable_names;
    for (auto& [name, node] : names) node->LosePower();
  }

  const bool is_directory;
  std::string data, durable_data;
  std::map<std::string, std::shared_ptr<Node>> names, durable_names;
};

class MemoryFileSystem::Writer : public WritableFile {
 public:
  Writer(MemoryFileSystem* files, std::string path, std::shared_ptr<Node> node)
      : files_(files), path_(std::move(path)), node_(std::move(node)) {}

  absl::Status Append(absl::string_view data) override {
    DTRPO_RETURN_IF_ERROR(files_->CheckFault("append", path_));
    absl::MutexLock lock(&files_->mutex_);
    node_->data.append(data.data(), data.size());
    return absl::OkStatus();
  }
  absl::Status Sync() override {
    DTRPO_RETURN_IF_ERROR(files_->CheckFault("sync", path_));
    absl::MutexLock lock(&files_->mutex_);
    node_->durable_data = node_->data;
    return absl::OkStatus();
  }
  absl::Status Close() override { return absl::OkStatus(); }

 private:
  MemoryFileSystem* const files_;
  const std::string path_;
  const std::shared_ptr<Node> node_;
};

// Reads the contents as they were when the file was opened.
class MemoryFileSystem::Reader : public RandomAccessFile {
 public:
  Reader(std::string path, std::string data) : path_(std::move(path)), data_(std::move(data)) {}

  uint64_t size_bytes() const override { return data_.size(); }
  absl::Status ReadAt(uint64_t offset, size_t size, char* out) const override {
    if (offset > data_.size() || size > data_.size() - offset) {
      return absl::OutOfRangeError(absl::StrCat("can't read ", size, " bytes of ", path_,
                                                " at offset ", offset, ": the file has ",
                                                data_.size(), " bytes"));
    }
    std::memcpy(out, data_.data() + offset, size);
    return absl::OkStatus();
  }

 private:
  const std::string path_;
  const std::string data_;
};

MemoryFileSystem::MemoryFileSystem() : root_(std::make_shared<Node>(/*directory=*/true)) {}
MemoryFileSystem::~MemoryFileSystem() = default;

void MemoryFileSystem::set_fault(Fault fault) {
  absl::MutexLock lock(&mutex_);
  fault_ = std::move(fault);
}

absl::Status MemoryFileSystem::CheckFault(absl::string_view operation, const std::string& path) {
  Fault fault;
  {
    absl::MutexLock lock(&mutex_);
    fault = fault_;
  }
  return fault ? fault(operation, path) : absl::OkStatus();
}

std::shared_ptr<MemoryFileSystem::Node> MemoryFileSystem::Find(const std::string& path) {
  std::shared_ptr<Node> node = root_;
  for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (part == ".") continue;
    auto found = node->names.find(std::string(part));
    if (found == node->names.end()) return nullptr;
    node = found->second;
  }
  return node;
}

absl::StatusOr<std::shared_ptr<MemoryFileSystem::Node>> MemoryFileSystem::FindFile(
    const std::string& path) {
  std::shared_ptr<Node> node = Find(path);
  if (node == nullptr) return absl::NotFoundError(absl::StrCat("no file ", path));
  if (node->is_directory) return absl::FailedPreconditionError(absl::StrCat(path, " is a folder"));
  return node;
}

absl::StatusOr<std::shared_ptr<MemoryFileSystem::Node>> MemoryFileSystem::FindDirectory(
    const std::string& path) {
  std::shared_ptr<Node> node = Find(path);
  if (node == nullptr || !node->is_directory) {
    return absl::NotFoundError(absl::StrCat("no folder ", path));
  }
  return node;
}

absl::StatusOr<std::string> MemoryFileSystem::Read(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  DTRPO_ASSIGN_OR_RETURN(std::shared_ptr<Node> node, FindFile(path));
  return node->data;
}

absl::StatusOr<std::unique_ptr<RandomAccessFile>> MemoryFileSystem::Open(const std::string& path) {
  DTRPO_ASSIGN_OR_RETURN(std::string data, Read(path));
  return std::make_unique<Reader>(path, std::move(data));
}

absl::StatusOr<std::unique_ptr<WritableFile>> MemoryFileSystem::Create(const std::string& path) {
  return OpenToWrite(path, /*truncate=*/true);
}

absl::StatusOr<std::unique_ptr<WritableFile>> MemoryFileSystem::OpenToAppend(
    const std::string& path) {
  return OpenToWrite(path, /*truncate=*/false);
}

absl::StatusOr<std::unique_ptr<WritableFile>> MemoryFileSystem::OpenToWrite(const std::string& path,
                                                                            bool truncate) {
  DTRPO_RETURN_IF_ERROR(CheckFault("create", path));
  absl::MutexLock lock(&mutex_);
  DTRPO_ASSIGN_OR_RETURN(std::shared_ptr<Node> directory, FindDirectory(ParentPath(path)));
  std::shared_ptr<Node>& node = directory->names[BaseName(path)];
  if (node == nullptr) node = std::make_shared<Node>(/*directory=*/false);
  if (node->is_directory) return absl::FailedPreconditionError(absl::StrCat(path, " is a folder"));
  if (truncate) node->data.clear();
  return std::make_unique<Writer>(this, path, node);
}

bool MemoryFileSystem::Exists(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  return Find(path) != nullptr;
}

absl::StatusOr<bool> MemoryFileSystem::IsDirectory(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  std::shared_ptr<Node> node = Find(path);
  if (node == nullptr) return absl::NotFoundError(absl::StrCat("no file or folder ", path));
  return node->is_directory;
}

absl::StatusOr<uint64_t> MemoryFileSystem::FileSizeBytes(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  DTRPO_ASSIGN_OR_RETURN(std::shared_ptr<Node> node, FindFile(path));
  return node->data.size();
}

absl::StatusOr<std::vector<std::string>> MemoryFileSystem::List(const std::string& directory) {
  absl::MutexLock lock(&mutex_);
  DTRPO_ASSIGN_OR_RETURN(std::shared_ptr<Node> node, FindDirectory(directory));
  std::vector<std::string> names;
  for (const auto& [name, child] : node->names) names.push_back(name);
  return names;
}

absl::Status MemoryFileSystem::MakeDirectories(const std::string& directory) {
  DTRPO_RETURN_IF_ERROR(CheckFault("make_directories", directory));
  absl::MutexLock lock(&mutex_);
  std::shared_ptr<Node> node = root_;
  for (absl::string_view part : absl::StrSplit(directory, '/', absl::SkipEmpty())) {
    if (part == ".") continue;
    std::shared_ptr<Node>& child = node->names[std::string(part)];
    if (child == nullptr) {
      child = std::make_shared<Node>(/*directory=*/true);
      node->durable_names[std::string(part)] = child;
    }
    if (!child->is_directory) {
      return absl::AlreadyExistsError(
          absl::StrCat("can't make folder ", directory, ": ", part, " is a file"));
    }
    node = child;
  }
  return absl::OkStatus();
}

absl::Status MemoryFileSystem::Rename(const std::string& from, const std::string& to) {
  DTRPO_RETURN_IF_ERROR(CheckFault("rename", to));
  absl::MutexLock lock(&mutex_);
  std::shared_ptr<Node> node = Find(from);
  if (node == nullptr) return absl::NotFoundError(absl::StrCat("no file or folder ", from));
  DTRPO_ASSIGN_OR_RETURN(std::shared_ptr<Node> target, FindDirectory(ParentPath(to)));
  if (std::shared_ptr<Node> old = Find(to);
      old != nullptr && old->is_directory && !old->names.empty()) {
    return absl::AlreadyExistsError(absl::StrCat("can't rename ", from, " to ", to));
  }
  target->names[BaseName(to)] = node;
  Find(ParentPath(from))->names.erase(BaseName(from));
  return absl::OkStatus();
}

absl::Status MemoryFileSystem::RemoveFile(const std::string& path) {
  DTRPO_RETURN_IF_ERROR(CheckFault("remove", path));
  absl::MutexLock lock(&mutex_);
  DTRPO_RETURN_IF_ERROR(FindFile(path).status());
  Find(ParentPath(path))->names.erase(BaseName(path));
  return absl::OkStatus();
}

absl::Status MemoryFileSystem::RemoveTree(const std::string& path) {
  DTRPO_RETURN_IF_ERROR(CheckFault("remove", path));
  absl::MutexLock lock(&mutex_);
  if (Find(path) != nullptr) Find(ParentPath(path))->names.erase(BaseName(path));
  return absl::OkStatus();
}

absl::Status MemoryFileSystem::SyncDirectory(const std::string& directory) {
  DTRPO_RETURN_IF_ERROR(CheckFault("sync_directory", directory));
  absl::MutexLock lock(&mutex_);
  DTRPO_ASSIGN_OR_RETURN(std::shared_ptr<Node> node, FindDirectory(directory));
  node->durable_names = node->names;
  return absl::OkStatus();
}

void MemoryFileSystem::LosePower() {
  absl::MutexLock lock(&mutex_);
  root_->LosePower();
}

}  // namespace dtrpo::base

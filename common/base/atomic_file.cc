#include "common/base/atomic_file.h"

#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace dtrpo::base {

absl::StatusOr<std::unique_ptr<AtomicFile>> AtomicFile::Create(FileSystem* files,
                                                               std::string path) {
  std::string temporary_path = path + ".tmp";
  DTRPO_ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file, files->Create(temporary_path));
  return std::unique_ptr<AtomicFile>(
      new AtomicFile(files, std::move(path), std::move(temporary_path), std::move(file)));
}

AtomicFile::AtomicFile(FileSystem* files, std::string path, std::string temporary_path,
                       std::unique_ptr<WritableFile> file)
    : files_(files),
      path_(std::move(path)),
      temporary_path_(std::move(temporary_path)),
      file_(std::move(file)) {}

AtomicFile::~AtomicFile() {
  if (committed_) return;
  file_.reset();
  files_->RemoveFile(temporary_path_).IgnoreError();  // a leftover is harmless
}

absl::Status AtomicFile::Commit() {
  DTRPO_CHECK(!committed_) << path_;
  DTRPO_RETURN_IF_ERROR(file_->Sync());
  DTRPO_RETURN_IF_ERROR(file_->Close());
  DTRPO_RETURN_IF_ERROR(files_->Rename(temporary_path_, path_));
  committed_ = true;
  return files_->SyncDirectory(ParentPath(path_));
}

absl::Status WriteFileAtomically(FileSystem* files, const std::string& path,
                                 absl::string_view data) {
  DTRPO_ASSIGN_OR_RETURN(std::unique_ptr<AtomicFile> file, AtomicFile::Create(files, path));
  DTRPO_RETURN_IF_ERROR(file->Append(data));
  return file->Commit();
}

}  // namespace dtrpo::base

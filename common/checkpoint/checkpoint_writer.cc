#include "common/checkpoint/checkpoint_writer.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/base/crc32c.h"
#include "common/base/fault_points.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/json_object.h"

namespace dtrpo::checkpoint {
namespace {

using base::JoinPath;
using nlohmann::json;

constexpr int64_t kMarkerFormat = 1;
constexpr uint64_t kReadBytes = 1 << 20;

struct FileSummary {
  uint64_t size_bytes = 0;
  uint32_t crc32c = 0;
};

// Counts and sums what passes through, so that a file is read only once: while it is written.
class SummingFile : public base::WritableFile {
 public:
  explicit SummingFile(std::unique_ptr<base::WritableFile> file) : file_(std::move(file)) {}
  absl::Status Append(absl::string_view data) override {
    DTRPO_RETURN_IF_ERROR(file_->Append(data));
    summary_.size_bytes += data.size();
    summary_.crc32c = base::ExtendCrc32c(summary_.crc32c, data);
    return absl::OkStatus();
  }
  absl::Status Sync() override { return file_->Sync(); }
  absl::Status Close() override { return file_->Close(); }
  const FileSummary& summary() const { return summary_; }

 private:
  std::unique_ptr<base::WritableFile> file_;
  FileSummary summary_;
};

// Writes the files of one temporary folder and remembers what went into the marker.
class FolderWriter {
 public:
  FolderWriter(base::FileSystem* files, std::string folder)
      : files_(files), folder_(std::move(folder)) {}

  absl::Status WriteText(const std::string& name, absl::string_view content) {
    return Write(name, [&](base::WritableFile* out) { return out->Append(content); });
  }

  // In pieces: a carried file may be large.
  absl::Status Copy(const std::string& name, const std::string& source) {
    DTRPO_ASSIGN_OR_RETURN(const auto file, files_->Open(source));
    return Write(name, [&](base::WritableFile* out) -> absl::Status {
      std::string piece;
      for (uint64_t offset = 0; offset < file->size_bytes(); offset += piece.size()) {
        piece.resize(std::min(kReadBytes, file->size_bytes() - offset));
        DTRPO_RETURN_IF_ERROR(file->ReadAt(offset, piece.size(), piece.data()));
        DTRPO_RETURN_IF_ERROR(out->Append(piece));
      }
      return absl::OkStatus();
    });
  }

  absl::Status WriteTensors(const std::string& name, const std::vector<TensorView>& tensors) {
    return Write(name, [&](base::WritableFile* out) {
      return AppendSafetensors(out, JoinPath(folder_, name), tensors);
    });
  }

  // The part's marker vouches for size and checksum.
  absl::Status TakeOver(const std::string& part) {
    DTRPO_RETURN_IF_ERROR(CheckComplete(files_, part, Verify::kSizes));
    const std::string marker_path = JoinPath(part, kMarkerFile);
    DTRPO_ASSIGN_OR_RETURN(const std::string text, files_->Read(marker_path));
    DTRPO_ASSIGN_OR_RETURN(const JsonObject marker, JsonObject::Parse(text, marker_path));
    DTRPO_ASSIGN_OR_RETURN(const auto listed, marker.OptionalObject("files"));
    if (!listed.has_value()) return marker.Invalid("files", "is missing");
    for (const auto& item : listed->value().items()) {
      DTRPO_ASSIGN_OR_RETURN(const auto entry, listed->OptionalObject(item.key()));
      DTRPO_ASSIGN_OR_RETURN(const int64_t size, entry->Int("size_bytes", 0, INT64_MAX));
      DTRPO_ASSIGN_OR_RETURN(const int64_t crc, entry->Int("crc32c", 0, UINT32_MAX));
      DTRPO_RETURN_IF_ERROR(
          files_->Rename(JoinPath(part, item.key()), JoinPath(folder_, item.key())));
      summaries_[item.key()] = {.size_bytes = static_cast<uint64_t>(size),
                                .crc32c = static_cast<uint32_t>(crc)};
    }
    return files_->RemoveTree(part);
  }

  absl::Status SyncFolders() {
    for (const std::string& folder : made_) DTRPO_RETURN_IF_ERROR(files_->SyncDirectory(folder));
    return files_->SyncDirectory(folder_);
  }

  absl::Status WriteMarker() {
    json listed = json::object();
    for (const auto& [name, summary] : summaries_) {
      listed[name] = {{"size_bytes", summary.size_bytes}, {"crc32c", summary.crc32c}};
    }
    const json marker = {{"format", kMarkerFormat}, {"files", listed}};
    return WriteText(std::string(kMarkerFile),
                     marker.dump(1, ' ', false, json::error_handler_t::replace) + "\n");
  }

 private:
  template <typename Fill>
  absl::Status Write(const std::string& name, Fill fill) {
    const std::string path = JoinPath(folder_, name);
    // Each folder on the way: the name of the innermost is as much to be synced as the file's.
    for (size_t slash = name.find('/'); slash != name.npos; slash = name.find('/', slash + 1)) {
      const std::string inner = JoinPath(folder_, name.substr(0, slash));
      if (made_.insert(inner).second) DTRPO_RETURN_IF_ERROR(files_->MakeDirectories(inner));
    }
    DTRPO_ASSIGN_OR_RETURN(auto file, files_->Create(path));
    SummingFile out(std::move(file));
    DTRPO_RETURN_IF_ERROR(fill(&out));
    DTRPO_FAULT_POINT("checkpoint.while_writing");  // once a file
    DTRPO_RETURN_IF_ERROR(out.Sync());
    DTRPO_RETURN_IF_ERROR(out.Close());
    summaries_[name] = out.summary();
    return absl::OkStatus();
  }

  base::FileSystem* const files_;
  const std::string folder_;
  std::map<std::string, FileSummary> summaries_;
  std::set<std::string> made_;  // folders inside
};

// Plain names, and relative paths without detours.
bool StaysInside(absl::string_view path) {
  for (const absl::string_view part : absl::StrSplit(path, '/')) {
    if (part.empty() || part == "." || part == "..") return false;
  }
  return path != kMarkerFile;
}

// All files but the marker. The weights are split here, so that the names are known.
struct Files {
  std::map<std::string, std::vector<TensorView>> tensors;
  std::map<std::string, std::string> texts;
  std::vector<std::string> copies;
};

absl::StatusOr<Files> Plan(const CheckpointContents& contents, const std::string& path) {
  Files plan{.tensors = contents.tensor_files, .texts = contents.extra_files, .copies = {}};
  if (contents.max_shard_bytes < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": max_shard_bytes ", contents.max_shard_bytes, " is below 0"));
  }
  if (!contents.weights.empty()) {
    std::vector<Shard> shards = SplitIntoShards(contents.weights, contents.max_shard_bytes);
    if (shards.size() > 1) plan.texts[std::string(kModelIndexFile)] = ShardIndex(shards);
    for (Shard& shard : shards) plan.tensors[shard.file] = std::move(shard.tensors);
  }
  for (const std::string& name : contents.copy_names) {
    if (IsWeightsFile(name) || plan.texts.contains(name)) continue;
    plan.copies.push_back(name);
  }
  const auto check = [&](const std::string& name) {
    if (StaysInside(name)) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": '", name, "' can't be a file of a checkpoint"));
  };
  for (const auto& [name, tensors] : plan.tensors) DTRPO_RETURN_IF_ERROR(check(name));
  for (const std::string& name : plan.copies) DTRPO_RETURN_IF_ERROR(check(name));
  for (const auto& [name, content] : plan.texts) DTRPO_RETURN_IF_ERROR(check(name));
  return plan;
}

absl::Status WriteAll(base::FileSystem* files, const std::string& folder, const Files& plan,
                      const std::string& copy_from, const std::vector<std::string>& parts) {
  FolderWriter writer(files, folder);
  for (const std::string& name : plan.copies) {
    DTRPO_RETURN_IF_ERROR(writer.Copy(name, JoinPath(copy_from, name)));
  }
  for (const auto& [name, content] : plan.texts) {
    DTRPO_RETURN_IF_ERROR(writer.WriteText(name, content));
  }
  for (const auto& [name, tensors] : plan.tensors) {
    DTRPO_RETURN_IF_ERROR(writer.WriteTensors(name, tensors));
  }
  for (const std::string& part : parts) DTRPO_RETURN_IF_ERROR(writer.TakeOver(part));
  // The names of the files must be durable before the marker that vouches for them.
  DTRPO_RETURN_IF_ERROR(writer.SyncFolders());
  DTRPO_FAULT_POINT("checkpoint.before_marker");
  DTRPO_RETURN_IF_ERROR(writer.WriteMarker());
  return files->SyncDirectory(folder);
}

absl::StatusOr<uint32_t> FileCrc32c(base::FileSystem* files, const std::string& path) {
  DTRPO_ASSIGN_OR_RETURN(const auto file, files->Open(path));
  std::string buffer;
  uint32_t crc = 0;
  for (uint64_t offset = 0; offset < file->size_bytes(); offset += buffer.size()) {
    buffer.resize(std::min(kReadBytes, file->size_bytes() - offset));
    DTRPO_RETURN_IF_ERROR(file->ReadAt(offset, buffer.size(), buffer.data()));
    crc = base::ExtendCrc32c(crc, buffer);
  }
  return crc;
}

absl::Status CheckFile(base::FileSystem* files, const std::string& path, const JsonObject& entry,
                       Verify verify) {
  DTRPO_ASSIGN_OR_RETURN(const int64_t size, entry.Int("size_bytes", 0, INT64_MAX));
  DTRPO_ASSIGN_OR_RETURN(const int64_t crc, entry.Int("crc32c", 0, UINT32_MAX));
  const absl::StatusOr<uint64_t> actual = files->FileSizeBytes(path);
  if (absl::IsNotFound(actual.status())) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": missing from a checkpoint that lists it"));
  }
  DTRPO_RETURN_IF_ERROR(actual.status());
  if (*actual != static_cast<uint64_t>(size)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": ", *actual, " bytes, the marker says ", size));
  }
  if (verify == Verify::kSizes) return absl::OkStatus();
  DTRPO_ASSIGN_OR_RETURN(const uint32_t actual_crc, FileCrc32c(files, path));
  if (actual_crc == static_cast<uint32_t>(crc)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrFormat(
      "%s: checksum %08x, the marker says %08x", path, actual_crc, static_cast<uint32_t>(crc)));
}

}  // namespace

absl::Status WriteCheckpoint(base::FileSystem* files, const std::string& path,
                             const CheckpointContents& contents, const WriteOptions& options) {
  DTRPO_ASSIGN_OR_RETURN(const Files plan, Plan(contents, path));
  const bool exists = files->Exists(path);
  if (exists && !options.overwrite) {
    return absl::AlreadyExistsError(absl::StrCat(path, ": is there already"));
  }
  const std::string temporary = path + ".tmp", replaced = path + ".old";
  const std::string parent = base::ParentPath(path);
  DTRPO_RETURN_IF_ERROR(files->MakeDirectories(parent));
  DTRPO_RETURN_IF_ERROR(files->RemoveTree(temporary));
  DTRPO_RETURN_IF_ERROR(files->MakeDirectories(temporary));
  const absl::Status written = WriteAll(files, temporary, plan, contents.copy_from, contents.parts);
  if (!written.ok()) {
    // The first error is the one to report; what can't be removed now, the next writer removes.
    files->RemoveTree(temporary).IgnoreError();
    return base::Annotate(written, "while writing checkpoint ", path);
  }
  DTRPO_FAULT_POINT("checkpoint.before_rename");
  if (exists) {
    DTRPO_RETURN_IF_ERROR(files->RemoveTree(replaced));
    DTRPO_RETURN_IF_ERROR(files->Rename(path, replaced));
    DTRPO_FAULT_POINT("checkpoint.between_renames");
  }
  DTRPO_RETURN_IF_ERROR(files->Rename(temporary, path));
  DTRPO_RETURN_IF_ERROR(files->SyncDirectory(parent));
  return exists ? files->RemoveTree(replaced) : absl::OkStatus();
}

absl::Status CheckComplete(base::FileSystem* files, const std::string& path, Verify verify) {
  const std::string marker_path = JoinPath(path, kMarkerFile);
  absl::StatusOr<std::string> text = files->Read(marker_path);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(absl::StrCat(path, ": no ", kMarkerFile));
  }
  DTRPO_RETURN_IF_ERROR(text.status());
  DTRPO_ASSIGN_OR_RETURN(const JsonObject marker, JsonObject::Parse(*text, marker_path));
  DTRPO_RETURN_IF_ERROR(marker.Int("format", kMarkerFormat, kMarkerFormat).status());
  DTRPO_ASSIGN_OR_RETURN(const auto listed, marker.OptionalObject("files"));
  if (!listed.has_value()) return marker.Invalid("files", "is missing");
  for (const auto& item : listed->value().items()) {
    DTRPO_ASSIGN_OR_RETURN(const auto entry, listed->OptionalObject(item.key()));
    if (!entry.has_value()) return listed->Invalid(item.key(), "must be an object");
    DTRPO_RETURN_IF_ERROR(CheckFile(files, JoinPath(path, item.key()), *entry, verify));
  }
  return absl::OkStatus();
}

}  // namespace dtrpo::checkpoint

#include "common/checkpoint/retention.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/base/atomic_file.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/checkpoint_writer.h"

namespace dtrpo::checkpoint {
namespace {

using base::JoinPath;

constexpr absl::string_view kPrefix = "step-";
constexpr absl::string_view kPointer = "latest";
constexpr absl::string_view kRemoved =
    ".removed";  // renamed first: never half a folder by its name

std::string NameOf(int64_t step) { return absl::StrFormat("%s%08d", kPrefix, step); }

// nullopt for any name that NameOf() does not make.
std::optional<int64_t> StepOf(absl::string_view name) {
  absl::string_view digits = name;
  int64_t step = 0;
  if (!absl::ConsumePrefix(&digits, kPrefix) || !absl::SimpleAtoi(digits, &step) || step < 0 ||
      NameOf(step) != name) {
    return std::nullopt;
  }
  return step;
}

}  // namespace

CheckpointRoot::CheckpointRoot(base::FileSystem* files, std::string root)
    : files_(files), root_(std::move(root)) {}

std::string CheckpointRoot::PathOf(int64_t step) const {
  DTRPO_CHECK(step >= 0);
  return JoinPath(root_, NameOf(step));
}

absl::StatusOr<std::vector<RetainedCheckpoint>> CheckpointRoot::List() const {
  std::vector<RetainedCheckpoint> found;
  if (!files_->Exists(root_)) return found;
  DTRPO_ASSIGN_OR_RETURN(const std::vector<std::string> names, files_->List(root_));
  for (const std::string& name : names) {
    const std::optional<int64_t> step = StepOf(name);
    if (!step.has_value()) continue;
    if (!CheckComplete(files_, PathOf(*step), Verify::kSizes).ok()) continue;
    found.push_back({*step, PathOf(*step)});
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.step < b.step; });
  return found;
}

absl::Status CheckpointRoot::SetLatest(int64_t step) {
  DTRPO_RETURN_IF_ERROR(CheckComplete(files_, PathOf(step), Verify::kSizes));
  return base::WriteFileAtomically(files_, JoinPath(root_, kPointer), NameOf(step) + "\n");
}

absl::StatusOr<std::string> CheckpointRoot::ReadPointer() const {
  DTRPO_ASSIGN_OR_RETURN(const std::string text, files_->Read(JoinPath(root_, kPointer)));
  return std::string(absl::StripAsciiWhitespace(text));
}

absl::StatusOr<RetainedCheckpoint> CheckpointRoot::Latest() const {
  DTRPO_ASSIGN_OR_RETURN(const std::vector<RetainedCheckpoint> complete, List());
  if (complete.empty()) {
    return absl::NotFoundError(absl::StrCat(root_, ": no complete checkpoint"));
  }
  const absl::StatusOr<std::string> name = ReadPointer();
  if (name.ok()) {
    for (const RetainedCheckpoint& checkpoint : complete) {
      if (NameOf(checkpoint.step) == *name) return checkpoint;
    }
  }
  return complete.back();
}

absl::StatusOr<std::vector<int64_t>> CheckpointRoot::Prune(int keep,
                                                           const std::vector<int64_t>& pinned) {
  DTRPO_CHECK(keep >= 1);
  DTRPO_ASSIGN_OR_RETURN(const std::vector<RetainedCheckpoint> complete, List());
  std::vector<int64_t> removed;
  if (complete.size() <= static_cast<size_t>(keep)) return removed;
  DTRPO_ASSIGN_OR_RETURN(const RetainedCheckpoint latest, Latest());
  for (size_t i = 0; i + keep < complete.size(); ++i) {
    const RetainedCheckpoint& checkpoint = complete[i];
    if (checkpoint.step == latest.step ||
        std::find(pinned.begin(), pinned.end(), checkpoint.step) != pinned.end()) {
      continue;
    }
    const std::string aside = absl::StrCat(checkpoint.path, kRemoved);
    DTRPO_RETURN_IF_ERROR(files_->RemoveTree(aside));
    DTRPO_RETURN_IF_ERROR(files_->Rename(checkpoint.path, aside));
    DTRPO_RETURN_IF_ERROR(files_->RemoveTree(aside));
    removed.push_back(checkpoint.step);
  }
  if (!removed.empty()) DTRPO_RETURN_IF_ERROR(files_->SyncDirectory(root_));
  return removed;
}

absl::Status CheckpointRoot::RemoveLeftovers() {
  if (!files_->Exists(root_)) return absl::OkStatus();
  DTRPO_ASSIGN_OR_RETURN(const std::vector<std::string> names, files_->List(root_));
  for (const std::string& name : names) {
    absl::string_view step_name = name;
    // A replaced folder whose replacement never arrived is the only copy: put it back.
    if (absl::ConsumeSuffix(&step_name, ".old") && StepOf(step_name).has_value()) {
      const std::string path = JoinPath(root_, step_name);
      if (files_->Exists(path)) {
        DTRPO_RETURN_IF_ERROR(files_->RemoveTree(JoinPath(root_, name)));
      } else {
        DTRPO_RETURN_IF_ERROR(files_->Rename(JoinPath(root_, name), path));
      }
      continue;
    }
    // A rank's part of a checkpoint that never came to be; it may itself be half-written.
    if (const size_t part = name.find(".part-"); part != name.npos) {
      if (StepOf(name.substr(0, part)).has_value()) {
        DTRPO_RETURN_IF_ERROR(files_->RemoveTree(JoinPath(root_, name)));
      }
      continue;
    }
    if (absl::ConsumeSuffix(&step_name, ".tmp") || absl::ConsumeSuffix(&step_name, kRemoved)) {
      if (StepOf(step_name).has_value() || step_name == kPointer) {
        DTRPO_RETURN_IF_ERROR(files_->RemoveTree(JoinPath(root_, name)));
      }
    }
  }
  return files_->SyncDirectory(root_);
}

}  // namespace dtrpo::checkpoint

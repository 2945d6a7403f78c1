#include "common/weights/version_store.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace dtrpo::weights {

absl::Status VersionStore::Install(std::shared_ptr<const Image> image) {
  const Manifest& manifest = image->manifest();
  absl::MutexLock lock(&mutex_);
  if (!images_.empty()) {
    const Manifest& newest = images_.rbegin()->second->manifest();
    if (SameBits(newest, manifest)) return absl::OkStatus();
    if (newest.job_id != manifest.job_id) {
      return absl::FailedPreconditionError(absl::StrCat(
          "weights of ", Describe(manifest), " came while ", Describe(newest), " is held"));
    }
    const bool newer =
        manifest.generation > newest.generation ||
        (manifest.generation == newest.generation && manifest.version > newest.version);
    if (!newer) {
      return absl::FailedPreconditionError(
          absl::StrCat("weights of ", Describe(manifest), " aren't newer than ", Describe(newest)));
    }
    // A higher generation replaces every number from its own on: those were never the job's
    // surviving weights.
    images_.erase(images_.lower_bound(manifest.version), images_.end());
  }
  images_[manifest.version] = std::move(image);
  return absl::OkStatus();
}

std::shared_ptr<const Image> VersionStore::Newest() const {
  absl::MutexLock lock(&mutex_);
  return images_.empty() ? nullptr : images_.rbegin()->second;
}

std::shared_ptr<const Image> VersionStore::Find(int64_t version) const {
  absl::MutexLock lock(&mutex_);
  const auto it = images_.find(version);
  return it == images_.end() ? nullptr : it->second;
}

int64_t VersionStore::NewestVersion() const {
  absl::MutexLock lock(&mutex_);
  return images_.empty() ? -1 : images_.rbegin()->first;
}

std::vector<int64_t> VersionStore::Held() const {
  absl::MutexLock lock(&mutex_);
  std::vector<int64_t> versions;
  for (const auto& [version, image] : images_) versions.push_back(version);
  return versions;
}

void VersionStore::KeepOnly(absl::Span<const int64_t> versions) {
  absl::MutexLock lock(&mutex_);
  if (images_.empty()) return;
  const int64_t newest = images_.rbegin()->first;
  for (auto it = images_.begin(); it != images_.end();) {
    const bool keep = it->first == newest ||
                      std::find(versions.begin(), versions.end(), it->first) != versions.end();
    it = keep ? std::next(it) : images_.erase(it);
  }
}

void VersionStore::Clear() {
  absl::MutexLock lock(&mutex_);
  images_.clear();
}

}  // namespace dtrpo::weights

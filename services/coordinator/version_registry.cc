#include "services/coordinator/version_registry.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/retry_after.h"

namespace dtrpo::coordinator {
namespace {

absl::Status Refuse(const std::string& message, const char* reason) {
  absl::Status status = absl::FailedPreconditionError(message);
  base::SetReason(status, reason);
  return status;
}

}  // namespace

absl::StatusOr<VersionRegistry::Outcome> VersionRegistry::Register(
    const v1::WeightsManifest& manifest) {
  const int64_t version = manifest.version();
  if (version < 0) {
    return absl::InvalidArgumentError(absl::StrCat("field version: ", version, " is negative"));
  }
  if (manifest.sha256().empty()) {
    return absl::InvalidArgumentError(absl::StrCat("version ", version, ": field sha256 is empty"));
  }
  Outcome outcome = Outcome::kNew;
  auto known = versions_.find(version);
  if (known == versions_.end()) {
    if (!versions_.empty() && version != newest() + 1) {
      return Refuse(absl::StrCat("version ", version, ": the newest is ", newest()), "version_gap");
    }
  } else if (known->second.sha256() == manifest.sha256()) {
    return Outcome::kSame;
  } else if (manifest.generation() <= known->second.generation()) {
    return Refuse(
        absl::StrCat("version ", version, " generation ", manifest.generation(),
                     " has other bits than the registered generation ", known->second.generation()),
        "version_conflict");
  } else {
    versions_.erase(known, versions_.end());
    outcome = Outcome::kReplaced;
  }
  v1::WeightsManifest& entry = versions_[version];
  entry = manifest;
  entry.clear_tensors();
  return outcome;
}

const v1::WeightsManifest& VersionRegistry::newest_manifest() const {
  return versions_.empty() ? v1::WeightsManifest::default_instance() : versions_.rbegin()->second;
}

}  // namespace dtrpo::coordinator

// Not thread-safe: belongs to the coordinator's lock.
//
// The weights versions of one job. A number never stands for two different sets of bits (invariant
// 4) unless the later one carries a higher generation: a learner that resumed from a checkpoint
// makes some numbers anew, usually bit for bit.
#pragma once

#include <cstdint>
#include <map>

#include "absl/status/statusor.h"
#include "proto/dtrpo/v1/weights.pb.h"

namespace dtrpo::coordinator {

class VersionRegistry {
 public:
  enum class Outcome {
    kNew,
    kSame,      // same number and checksum: nothing changed
    kReplaced,  // other bits with a higher generation; the numbers after it are gone too, since
                // they were never made from the surviving weights
  };
  // FAILED_PRECONDITION, reason "version_conflict": other bits without a higher generation.
  // FAILED_PRECONDITION, reason "version_gap": neither known nor the newest plus one (the first may
  // be any). INVALID_ARGUMENT: a negative number or no checksum.
  absl::StatusOr<Outcome> Register(const v1::WeightsManifest& manifest);

  // 0, the base model, before anything is registered.
  int64_t newest() const { return versions_.empty() ? 0 : versions_.rbegin()->first; }
  // Of the newest, without its tensors; an empty message before anything is registered.
  const v1::WeightsManifest& newest_manifest() const;
  bool Has(int64_t version) const { return versions_.count(version) > 0; }

  template <typename Archive>
  void Kept(Archive& archive) {
    archive(versions_);
  }

 private:
  std::map<int64_t, v1::WeightsManifest> versions_;  // tensors left out
};

}  // namespace dtrpo::coordinator

// Thread safety: pure functions.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "common/weights/manifest.h"
#include "proto/dtrpo/v1/weights.pb.h"

namespace dtrpo::wire {

void ToProto(const weights::Manifest& from, v1::WeightsManifest* to);

// With weights::Validate. A manifest without tensors (as the coordinator keeps them) is refused
// unless it is of no bytes; compare those by number, generation and sha256.
absl::StatusOr<weights::Manifest> FromProto(const v1::WeightsManifest& from, uint64_t max_bytes);

}  // namespace dtrpo::wire

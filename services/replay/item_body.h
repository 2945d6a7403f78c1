// Thread safety: pure functions.
//
// An item as the bytes that a storage engine keeps: one format byte, then a zstd frame with a
// checksum around a ReplayItemBody. The prompt is kept once: the tokens that the trajectories of an
// item share stand in the first one only.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/dtrpo/v1/replay_log.pb.h"

namespace dtrpo::replay {

// REQUIRES: the trajectories of the item share their prompt_tokens (validation says so).
std::string EncodeItemBody(v1::ReplayItemBody item);

// DATA_LOSS says what is wrong with the bytes.
absl::StatusOr<v1::ReplayItemBody> DecodeItemBody(absl::string_view bytes);

}  // namespace dtrpo::replay

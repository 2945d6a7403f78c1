// Thread safety: pure functions.
//
// An item as the bytes that the replay store keeps and that travel to whoever samples it: one
// format byte, then a zstd frame with a checksum around a ReplayItemBody. The prompt is kept once:
// the tokens that the trajectories of an item share stand in the first one only.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/status_macros.h"
#include "proto/dtrpo/v1/replay_log.pb.h"

namespace dtrpo::wire {

inline constexpr int kItemBodyFormat = 1;  // the newest that DecodeItemBody reads

// REQUIRES: the trajectories of the item share their prompt_tokens (validation says so).
std::string EncodeItemBody(v1::ReplayItemBody item);

// DATA_LOSS says what is wrong with the bytes.
absl::StatusOr<v1::ReplayItemBody> DecodeItemBody(absl::string_view bytes);

// `bytes` into `item`, a BatchItem or a ReplayItem: as they are when their format is at most
// `body_format` (GetBatchRequest), else decoded.
template <typename Message>
absl::Status PutItemBody(std::string bytes, int32_t body_format, Message* item) {
  if (!bytes.empty() && static_cast<uint8_t>(bytes[0]) <= body_format) {
    item->set_body(std::move(bytes));
    return absl::OkStatus();
  }
  DTRPO_ASSIGN_OR_RETURN(v1::ReplayItemBody body, DecodeItemBody(bytes));
  if (body.has_pair()) item->mutable_pair()->Swap(body.mutable_pair());
  if (body.has_group()) item->mutable_group()->Swap(body.mutable_group());
  return absl::OkStatus();
}

// The other side of it: `item` has its pair or its group then, and no body.
template <typename Message>
absl::Status UnpackItemBody(Message* item) {
  if (item->body().empty()) return absl::OkStatus();
  std::string bytes;
  bytes.swap(*item->mutable_body());
  return PutItemBody(std::move(bytes), /*body_format=*/0, item);
}

}  // namespace dtrpo::wire

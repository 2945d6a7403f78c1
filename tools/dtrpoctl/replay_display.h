// Thread safety: pure functions. How the replay store looks to a person.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/text/tokenizer.h"
#include "common/wire/replay_view_client.h"
#include "proto/dtrpo/v1/replay.pb.h"

namespace dtrpo::ctl {

std::string ReplayJobTable(const v1::ListReplayJobsResponse& jobs);
std::string ReplayDetails(const v1::GetReplayStatsResponse& stats);
// What one of several shards keeps, or why it doesn't say.
std::string ShardLine(const wire::ShardStats& shard);

// A header and a line an item, in columns.
std::string ItemHeader();
std::string ItemLine(const v1::ReplayItem& item);

// Everything about an item. With `steps`, for each trajectory the canvas before the first step and
// after each one, masks as dots. `tokenizer` may be null: token ids instead of text.
absl::StatusOr<std::string> ItemView(const v1::ReplayItem& item, const text::Tokenizer* tokenizer,
                                     bool steps);

}  // namespace dtrpo::ctl

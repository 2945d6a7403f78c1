// Thread safety: pure functions.
// Log records and snapshots as bytes (proto/dtrpo/v1/replay_log.proto). What an engine gives back
// is not trusted: DATA_LOSS says what is wrong with it.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/dtrpo/v1/replay.pb.h"
#include "services/replay/log_record.h"
#include "services/replay/prompt_ledger.h"
#include "services/replay/table_options.h"
#include "services/replay/table_snapshot.h"

namespace dtrpo::replay {

std::string EncodeRecord(const LogRecord& record);
absl::StatusOr<LogRecord> DecodeRecord(absl::string_view bytes);

// Equal snapshots give equal bytes.
std::string EncodeSnapshot(const TableSnapshot& snapshot);
absl::StatusOr<TableSnapshot> DecodeSnapshot(absl::string_view bytes);

// The parts that are also on the wire.
TableOptions FromProto(const v1::ReplayJobOptions& from);
void ToProto(const TableOptions& from, v1::ReplayJobOptions* to);
PromptKey FromProto(const v1::PromptKey& from);
void ToProto(const PromptKey& from, v1::PromptKey* to);
// INVALID_ARGUMENT for an event of no kind.
absl::StatusOr<PromptEvent> EventFromProto(const v1::PromptEvent& from);
void ToProto(const PromptEvent& from, v1::PromptEvent* to);

}  // namespace dtrpo::replay

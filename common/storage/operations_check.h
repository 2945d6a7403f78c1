// What every engine refuses, in the same words. Thread-safe: no state.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/storage/storage_engine.h"

namespace dtrpo::storage {

// INVALID_ARGUMENT for a body id that isn't above those before it (`next_body`: one above the log's
// highest so far), or a range that runs backwards. Returns the next_body after the step.
absl::StatusOr<BodyId> CheckOperations(absl::string_view log, const Operations& operations,
                                       BodyId next_body);

// INVALID_ARGUMENT for a snapshot outside the log's records [first, last].
absl::Status CheckSnapshot(absl::string_view log, const Snapshot& snapshot, Position first,
                           Position last);

}  // namespace dtrpo::storage

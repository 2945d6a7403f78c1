#include "common/storage/operations_check.h"

#include "absl/strings/str_cat.h"

namespace dtrpo::storage {

absl::StatusOr<BodyId> CheckOperations(absl::string_view log, const Operations& operations,
                                       BodyId next_body) {
  for (const auto& [id, body] : operations.bodies) {
    if (id < next_body) {
      return absl::InvalidArgumentError(absl::StrCat(
          "log '", log, "': body id ", id, " is negative or not above the ids before it"));
    }
    next_body = id + 1;
  }
  for (const BodyRange& range : operations.deleted_bodies) {
    if (range.first > range.end) {
      return absl::InvalidArgumentError(absl::StrCat("log '", log, "': the range of bodies [",
                                                     range.first, ", ", range.end,
                                                     ") runs backwards"));
    }
  }
  return next_body;
}

absl::Status CheckSnapshot(absl::string_view log, const Snapshot& snapshot, Position first,
                           Position last) {
  if (snapshot.position >= first - 1 && snapshot.position <= last) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("log '", log, "': a snapshot at position ",
                                                 snapshot.position, " is outside [", first - 1,
                                                 ", ", last, "]"));
}

}  // namespace dtrpo::storage

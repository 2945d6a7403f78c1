// Steps that are committed together, as statements. Thread-safe: no state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "common/storage/log_index.h"
#include "common/storage/postgres_connection.h"

namespace dtrpo::storage {

// A step, or a snapshot, that waits for its transaction.
struct QueuedStep {
  Sequence sequence = 0;
  std::string log;
  LogIndex index;  // after the step
  Position first_record = 0;
  Operations operations;
  std::optional<Snapshot> snapshot;
  int64_t bytes = 0;
};

struct GroupPlace {
  int64_t number = 0;      // of the shard
  int64_t epoch = 0;       // under which the group is written
  Sequence committed = 0;  // what it follows
};

// Bodies and records come before deletions, as ids are never reused and ranges end at the ids of
// their time. REQUIRES: a group that isn't empty.
std::vector<PostgresConnection::Statement> StatementsOf(absl::Span<const QueuedStep> group,
                                                        const GroupPlace& place);

}  // namespace dtrpo::storage

// Where a service keeps what must outlive a request: named logs of small records, and the bodies
// that the records speak of. Thread-safe, but one log has one writer at a time.
//
// The owner of a log keeps its index in memory and rebuilds it from the log:
//
//   decide -> Append(records + bodies) -> apply to memory -> answer
//   start:    ReadSnapshot, then Replay what came after it
//
// so an engine knows nothing of what it stores, and a record is never rewritten.
// Engines: MemoryEngine. RocksDB's write batch and a PostgreSQL transaction fit the same promises.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace dtrpo::storage {

enum class Durability {
  kMemory,  // gone with the process
  kLog,     // write() returned: survives SIGKILL
  kSync,    // fdatasync returned: survives power loss
};

using Position = int64_t;  // of a record in its log: 1, 2, 3, ... without gaps
using BodyId = int64_t;    // chosen by the caller, unique within a log, >= 0

// Ids in [first, end).
struct BodyRange {
  BodyId first = 0;
  BodyId end = 0;
};

// One atomic step: after a crash all of it is there or none of it.
struct Operations {
  std::vector<std::string> records = {};                    // appended in this order
  std::vector<std::pair<BodyId, std::string>> bodies = {};  // REQUIRES: ids not in use
  std::vector<BodyRange> deleted_bodies = {};               // applied last; absent ids are fine
};

struct Confirmation {
  Position position = 0;                        // of the log's last record after the step
  Durability durability = Durability::kMemory;  // what the step has reached
};

struct Snapshot {
  Position position = 0;  // records up to and including this one are contained
  std::string state;
};

class StorageEngine {
 public:
  virtual ~StorageEngine() = default;

  // What a confirmed Append is worth.
  virtual Durability durability() const = 0;

  // Names of the logs that hold anything, in order.
  virtual absl::StatusOr<std::vector<std::string>> Logs() const = 0;

  // Makes the log when it isn't there. An error means that nothing was stored, or that the engine
  // refuses every later Append to this log until it is opened again: the caller's memory and the
  // log can't drift apart.
  virtual absl::StatusOr<Confirmation> Append(absl::string_view log, Operations operations) = 0;

  // In the order of `ids`; NOT_FOUND names the first id that isn't there.
  virtual absl::StatusOr<std::vector<std::string>> ReadBodies(
      absl::string_view log, absl::Span<const BodyId> ids) const = 0;

  // Calls `visit` for each record after `position`, in order, until it returns an error, which is
  // passed on. OUT_OF_RANGE when a snapshot has replaced records after `position`. A log that isn't
  // there is empty. `visit` must not call the engine.
  virtual absl::Status Replay(
      absl::string_view log, Position position,
      absl::FunctionRef<absl::Status(Position, absl::string_view record)> visit) const = 0;

  // Replaces the records up to `snapshot.position` by `snapshot.state`, atomically. Bodies stay.
  // INVALID_ARGUMENT for a position beyond the log's end or before the snapshot it replaces.
  virtual absl::Status WriteSnapshot(absl::string_view log, Snapshot snapshot) = 0;
  virtual absl::StatusOr<std::optional<Snapshot>> ReadSnapshot(absl::string_view log) const = 0;
};

}  // namespace dtrpo::storage

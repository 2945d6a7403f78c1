// Where a service keeps what must outlive a request: named logs of small records, and the bodies
// that the records speak of. Thread-safe, but one log has one writer at a time.
//
// The owner of a log keeps its index in memory and rebuilds it from the log:
//
//   decide -> Write(records + bodies) -> apply to memory -> Confirm -> answer
//   start:    ReadSnapshot, then Replay what came after it
//
// so an engine knows nothing of what it stores, and a record is never rewritten. Write() takes its
// place in the order and doesn't wait for the disk: an owner calls it, and applies, under its own
// lock. Confirm() waits, outside that lock, together with everybody else who waits: they share one
// fsync. Steps become durable in the order of their sequence numbers, so whoever answers from
// memory confirms the last sequence number he has applied, also when he wrote nothing himself.
//
// Engines: MemoryEngine, RocksDbEngine (one process, its own folder), PostgresEngine (a shard of a
// shared server, fenced by its epoch).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace dtrpo::storage {

enum class Durability {
  kMemory,  // gone with the process
  kLog,     // write() returned: survives SIGKILL
  kSync,    // fdatasync returned: survives power loss
};

absl::string_view DurabilityName(Durability durability);  // "memory", "log", "sync"
std::optional<Durability> DurabilityFromName(absl::string_view name);

// Reasons of errors (base::GetReason).
inline constexpr char kFenced[] = "fenced";  // FAILED_PRECONDITION: another owner took over
inline constexpr char kStoreFailed[] = "store_failed";  // any code: nothing more is written
inline constexpr char kDiskFull[] = "disk_full";        // RESOURCE_EXHAUSTED: nothing was stored
inline constexpr char kStoreBehind[] = "store_behind";  // RESOURCE_EXHAUSTED: too much unconfirmed

using Position = int64_t;  // of a record in its log: 1, 2, 3, ... without gaps
using BodyId = int64_t;    // chosen by the caller, rising within a log, >= 0
using Sequence =
    int64_t;  // of a step among those of all logs since the engine was opened: 1, 2, ...

// Ids in [first, end).
struct BodyRange {
  BodyId first = 0;
  BodyId end = 0;
};

// One atomic step: after a crash all of it is there or none of it.
struct Operations {
  std::vector<std::string> records = {};                    // appended in this order
  std::vector<std::pair<BodyId, std::string>> bodies = {};  // ids above those of the log so far
  std::vector<BodyRange> deleted_bodies = {};               // applied last; absent ids are fine
};

struct Written {
  Position position = 0;  // of the log's last record after the step
  Sequence sequence = 0;
};

struct Confirmation {
  Position position = 0;                        // as in Written
  Durability durability = Durability::kMemory;  // what the step has reached
};

struct Snapshot {
  Position position = 0;  // records up to and including this one are contained
  std::string state;
};

struct LogSize {
  Position first =
      1;              // of the oldest record that is kept; the snapshot, if any, holds those before
  Position last = 0;  // 0: the log was never written to
  int64_t record_bytes = 0;    // of the records that are kept
  int64_t snapshot_bytes = 0;  // of the snapshot
};

// Of the whole engine. What an engine can't tell is -1.
struct StoreSize {
  int64_t disk_bytes = -1;  // what the store's files take
  int64_t free_bytes = -1;  // that its disk still has
};

// Told of each fsync (commit) that confirmed something: how long it took, and how many steps became
// durable by it. Called by a thread of the engine; must return at once. May be empty.
using SyncObserver = std::function<void(absl::Duration took, int64_t steps)>;

class StorageEngine {
 public:
  static constexpr absl::Duration kConfirmTimeout = absl::Seconds(30);

  virtual ~StorageEngine() = default;

  // The most that a confirmation of this engine can be worth.
  virtual Durability durability() const = 0;
  // Rises each time the store is opened or taken over. Whoever has seen a higher one may refuse
  // answers made under this one.
  virtual int64_t epoch() const = 0;

  // Names of the logs that hold anything, in order.
  virtual absl::StatusOr<std::vector<std::string>> Logs() const = 0;

  // Takes the step at the end of the log (makes the log when it isn't there) and returns at once.
  // INVALID_ARGUMENT, or RESOURCE_EXHAUSTED with a retry-after ("disk_full", "store_behind"):
  // nothing was stored, and later steps may succeed. After any other error, here or in Confirm(),
  // every later Write() and Confirm() of this engine fails the same way until the store is opened
  // again: the callers' memory and the log can't drift apart.
  virtual absl::StatusOr<Written> Write(absl::string_view log, Operations operations) = 0;

  // Waits until this step and all before it have reached `level`; returns what they have reached,
  // which is less only where durability() is less, and may be more. DEADLINE_EXCEEDED: not yet, and
  // perhaps later (a slow disk, a database server that is being restarted).
  virtual absl::StatusOr<Durability> Confirm(Sequence sequence, Durability level,
                                             absl::Duration timeout) = 0;

  // Write, then Confirm, in one call.
  absl::StatusOr<Confirmation> Append(absl::string_view log, Operations operations,
                                      Durability level = Durability::kSync,
                                      absl::Duration timeout = kConfirmTimeout);

  // In the order of `ids`; NOT_FOUND names the first id that isn't there. Sees what is confirmed;
  // what was only written it may or may not see. UNAVAILABLE, here and in what else reads: the
  // database server is away.
  virtual absl::StatusOr<std::vector<std::string>> ReadBodies(
      absl::string_view log, absl::Span<const BodyId> ids) const = 0;

  // Calls `visit` for each record after `position`, in order, until it returns an error, which is
  // passed on. OUT_OF_RANGE when a snapshot has replaced records after `position`; DATA_LOSS names
  // what is damaged. A log that isn't there is empty. `visit` must not call the engine.
  virtual absl::Status Replay(
      absl::string_view log, Position position,
      absl::FunctionRef<absl::Status(Position, absl::string_view record)> visit) const = 0;

  // Replaces the records up to `snapshot.position` by `snapshot.state`, atomically and as a step of
  // its own, which every later Confirm() includes. Bodies stay. INVALID_ARGUMENT for a position
  // beyond the log's end or before the snapshot it replaces.
  virtual absl::Status WriteSnapshot(absl::string_view log, Snapshot snapshot) = 0;
  virtual absl::StatusOr<std::optional<Snapshot>> ReadSnapshot(absl::string_view log) const = 0;

  virtual absl::StatusOr<LogSize> SizeOf(absl::string_view log) const = 0;
  virtual absl::StatusOr<StoreSize> Size() const = 0;

  // Confirms everything at durability() and lets go of the store; the error of either. Later calls
  // fail. The destructor closes, too, but can't say what went wrong.
  virtual absl::Status Close() = 0;
};

}  // namespace dtrpo::storage

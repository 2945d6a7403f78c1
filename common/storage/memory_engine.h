// A StorageEngine in memory: as durable as the process, or in tests as the object. Thread-safe.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/storage/storage_engine.h"

namespace dtrpo::storage {

class MemoryEngine : public StorageEngine {
 public:
  Durability durability() const override { return Durability::kMemory; }
  int64_t epoch() const override { return 1; }
  absl::StatusOr<std::vector<std::string>> Logs() const override;
  absl::StatusOr<Written> Write(absl::string_view log, Operations operations) override;
  absl::StatusOr<Durability> Confirm(Sequence sequence, Durability level,
                                     absl::Duration timeout) override;
  absl::StatusOr<std::vector<std::string>> ReadBodies(absl::string_view log,
                                                      absl::Span<const BodyId> ids) const override;
  absl::Status Replay(
      absl::string_view log, Position position,
      absl::FunctionRef<absl::Status(Position, absl::string_view record)> visit) const override;
  absl::Status WriteSnapshot(absl::string_view log, Snapshot snapshot) override;
  absl::StatusOr<std::optional<Snapshot>> ReadSnapshot(absl::string_view log) const override;
  absl::StatusOr<LogSize> SizeOf(absl::string_view log) const override;
  absl::StatusOr<StoreSize> Size() const override { return StoreSize(); }
  absl::Status Close() override;

 private:
  struct Log {
    std::optional<Snapshot> snapshot;
    std::deque<std::string> records;  // the first one follows the snapshot
    std::map<BodyId, std::string> bodies;
    BodyId next_body = 0;  // ids below it are taken

    Position first_position() const { return (snapshot ? snapshot->position : 0) + 1; }
    Position last_position() const {
      return first_position() + static_cast<Position>(records.size()) - 1;
    }
  };

  const Log* Find(absl::string_view log) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  absl::Status CheckOpen() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  std::map<std::string, Log, std::less<>> logs_ ABSL_GUARDED_BY(mutex_);
  Sequence last_sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace dtrpo::storage

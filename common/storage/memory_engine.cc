#include "common/storage/memory_engine.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/storage/operations_check.h"

namespace dtrpo::storage {

const MemoryEngine::Log* MemoryEngine::Find(absl::string_view log) const {
  auto it = logs_.find(log);
  return it == logs_.end() ? nullptr : &it->second;
}

absl::Status MemoryEngine::CheckOpen() const {
  return closed_ ? absl::FailedPreconditionError("the store is closed") : absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> MemoryEngine::Logs() const {
  absl::ReaderMutexLock lock(&mutex_);
  std::vector<std::string> names;
  names.reserve(logs_.size());
  for (const auto& [name, log] : logs_) names.push_back(name);
  return names;
}

absl::StatusOr<Written> MemoryEngine::Write(absl::string_view log, Operations operations) {
  absl::MutexLock lock(&mutex_);
  DTRPO_RETURN_IF_ERROR(CheckOpen());
  // All checks come before the first change: a refused step leaves nothing behind.
  const Log* existing = Find(log);
  DTRPO_ASSIGN_OR_RETURN(
      const BodyId next_body,
      CheckOperations(log, operations, existing == nullptr ? 0 : existing->next_body));

  Log& target = logs_[std::string(log)];
  target.next_body = next_body;
  for (std::string& record : operations.records) target.records.push_back(std::move(record));
  for (auto& [id, body] : operations.bodies) target.bodies.emplace(id, std::move(body));
  for (const BodyRange& range : operations.deleted_bodies) {
    target.bodies.erase(target.bodies.lower_bound(range.first),
                        target.bodies.lower_bound(range.end));
  }
  return Written{.position = target.last_position(), .sequence = ++last_sequence_};
}

absl::StatusOr<Durability> MemoryEngine::Confirm(Sequence, Durability, absl::Duration) {
  absl::ReaderMutexLock lock(&mutex_);
  DTRPO_RETURN_IF_ERROR(CheckOpen());
  return durability();
}

absl::StatusOr<std::vector<std::string>> MemoryEngine::ReadBodies(
    absl::string_view log, absl::Span<const BodyId> ids) const {
  absl::ReaderMutexLock lock(&mutex_);
  const Log* source = Find(log);
  std::vector<std::string> bodies;
  bodies.reserve(ids.size());
  for (BodyId id : ids) {
    if (source == nullptr || !source->bodies.contains(id)) {
      return absl::NotFoundError(absl::StrCat("log '", log, "' has no body ", id));
    }
    bodies.push_back(source->bodies.at(id));
  }
  return bodies;
}

absl::Status MemoryEngine::Replay(
    absl::string_view log, Position position,
    absl::FunctionRef<absl::Status(Position, absl::string_view record)> visit) const {
  absl::ReaderMutexLock lock(&mutex_);
  const Log* source = Find(log);
  if (source == nullptr) return absl::OkStatus();
  if (position + 1 < source->first_position()) {
    return absl::OutOfRangeError(absl::StrCat("log '", log, "' begins at position ",
                                              source->first_position(), ", asked for ",
                                              position + 1));
  }
  for (Position at = position + 1; at <= source->last_position(); ++at) {
    absl::Status status = visit(at, source->records[at - source->first_position()]);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status MemoryEngine::WriteSnapshot(absl::string_view log, Snapshot snapshot) {
  absl::MutexLock lock(&mutex_);
  DTRPO_RETURN_IF_ERROR(CheckOpen());
  const Log* existing = Find(log);
  const Position first = existing == nullptr ? 1 : existing->first_position();
  const Position last = existing == nullptr ? 0 : existing->last_position();
  DTRPO_RETURN_IF_ERROR(CheckSnapshot(log, snapshot, first, last));
  Log& target = logs_[std::string(log)];
  target.records.erase(target.records.begin(),
                       target.records.begin() + (snapshot.position - first + 1));
  target.snapshot = std::move(snapshot);
  ++last_sequence_;
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Snapshot>> MemoryEngine::ReadSnapshot(absl::string_view log) const {
  absl::ReaderMutexLock lock(&mutex_);
  const Log* source = Find(log);
  if (source == nullptr) return std::optional<Snapshot>();
  return source->snapshot;
}

absl::StatusOr<LogSize> MemoryEngine::SizeOf(absl::string_view log) const {
  absl::ReaderMutexLock lock(&mutex_);
  LogSize size;
  const Log* source = Find(log);
  if (source == nullptr) return size;
  size.first = source->first_position();
  size.last = source->last_position();
  for (const std::string& record : source->records) {
    size.record_bytes += static_cast<int64_t>(record.size());
  }
  if (source->snapshot) size.snapshot_bytes = static_cast<int64_t>(source->snapshot->state.size());
  return size;
}

absl::Status MemoryEngine::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
  return absl::OkStatus();
}

}  // namespace dtrpo::storage

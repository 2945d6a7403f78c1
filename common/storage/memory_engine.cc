#include "common/storage/memory_engine.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace dtrpo::storage {

const MemoryEngine::Log* MemoryEngine::Find(absl::string_view log) const {
  auto it = logs_.find(log);
  return it == logs_.end() ? nullptr : &it->second;
}

absl::StatusOr<std::vector<std::string>> MemoryEngine::Logs() const {
  absl::ReaderMutexLock lock(&mutex_);
  std::vector<std::string> names;
  names.reserve(logs_.size());
  for (const auto& [name, log] : logs_) names.push_back(name);
  return names;
}

absl::StatusOr<Confirmation> MemoryEngine::Append(absl::string_view log, Operations operations) {
  absl::MutexLock lock(&mutex_);
  // All checks come before the first change: a refused step leaves nothing behind.
  const Log* existing = Find(log);
  std::set<BodyId> added;
  for (const auto& [id, body] : operations.bodies) {
    bool in_use = existing != nullptr && existing->bodies.contains(id);
    if (id < 0 || in_use || !added.insert(id).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("log '", log, "': body id ", id, " is negative or in use"));
    }
  }
  for (const BodyRange& range : operations.deleted_bodies) {
    if (range.first > range.end) {
      return absl::InvalidArgumentError(absl::StrCat("log '", log, "': the range of bodies [",
                                                     range.first, ", ", range.end,
                                                     ") runs backwards"));
    }
  }

  Log& target = logs_[std::string(log)];
  for (std::string& record : operations.records) target.records.push_back(std::move(record));
  for (auto& [id, body] : operations.bodies) target.bodies.emplace(id, std::move(body));
  for (const BodyRange& range : operations.deleted_bodies) {
    target.bodies.erase(target.bodies.lower_bound(range.first),
                        target.bodies.lower_bound(range.end));
  }
  return Confirmation{.position = target.last_position(), .durability = durability()};
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
  const Log* existing = Find(log);
  Position first = existing == nullptr ? 1 : existing->first_position();
  Position last = existing == nullptr ? 0 : existing->last_position();
  if (snapshot.position < first - 1 || snapshot.position > last) {
    return absl::InvalidArgumentError(absl::StrCat("log '", log, "': a snapshot at position ",
                                                   snapshot.position, " is outside [", first - 1,
                                                   ", ", last, "]"));
  }
  Log& target = logs_[std::string(log)];
  target.records.erase(target.records.begin(),
                       target.records.begin() + (snapshot.position - first + 1));
  target.snapshot = std::move(snapshot);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Snapshot>> MemoryEngine::ReadSnapshot(absl::string_view log) const {
  absl::ReaderMutexLock lock(&mutex_);
  const Log* source = Find(log);
  if (source == nullptr) return std::optional<Snapshot>();
  return source->snapshot;
}

}  // namespace dtrpo::storage

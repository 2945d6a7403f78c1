#include "common/storage/postgres_engine.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/fault_points.h"
#include "common/base/logging.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"
#include "common/storage/group_confirm.h"
#include "common/storage/log_index.h"
#include "common/storage/operations_check.h"
#include "common/storage/postgres_connection.h"
#include "common/storage/postgres_group.h"
#include "common/storage/postgres_schema.h"

namespace dtrpo::storage {
namespace {

constexpr int64_t kMaxQueuedBytes = 64 << 20;
constexpr int64_t kMaxGroupBytes = 8 << 20;
constexpr absl::Duration kRetryEvery = absl::Milliseconds(100);
constexpr absl::Duration kBehindRetryAfter = absl::Milliseconds(200);

using Group = std::vector<QueuedStep>;
using Statement = PostgresConnection::Statement;

class PostgresEngine final : public StorageEngine {
 public:
  PostgresEngine(PostgresOptions options, PostgresConnection writer, PostgresConnection reader,
                 TakenShard taken)
      : options_(std::move(options)),
        shard_(taken.number),
        epoch_(taken.epoch),
        logs_(std::move(taken.logs)),
        writer_(std::move(writer)),
        reader_(std::move(reader)),
        commit_([this](int64_t* done_up_to) { return CommitQueued(done_up_to); },
                options_.on_sync) {
    for (const auto& [name, index] : logs_) next_log_ = std::max(next_log_, index.number + 1);
  }
  ~PostgresEngine() override {
    const absl::Status closed = Close();
    if (!closed.ok()) base::LogError("closing the store", {{"error", closed}});
  }

  Durability durability() const override { return Durability::kSync; }
  int64_t epoch() const override { return epoch_; }
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
  absl::StatusOr<StoreSize> Size() const override;
  absl::Status Close() override;

 private:
  absl::Status CheckUsable() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  LogIndex IndexOf(absl::string_view log) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  Written Enqueue(QueuedStep step) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CommitQueued(int64_t* done_up_to);
  absl::Status CommitOnce(const Group& group, bool& in_doubt);
  // What was written, committed, so that it can be read.
  absl::StatusOr<LogIndex> Settle(absl::string_view log) const;
  absl::StatusOr<PostgresConnection::Result> Read(const Statement& statement) const;

  const PostgresOptions options_;
  const int64_t shard_;
  const int64_t epoch_;

  mutable absl::Mutex mutex_;
  LogIndexes logs_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_log_ ABSL_GUARDED_BY(mutex_) = 1;
  std::vector<QueuedStep> queue_ ABSL_GUARDED_BY(mutex_);
  int64_t queued_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // with those of the group under way
  Sequence written_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status failed_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;

  std::optional<PostgresConnection> writer_;  // of the thread that commits
  Sequence committed_ = 0;                    // of that thread, too
  mutable absl::Mutex reader_mutex_;
  mutable std::optional<PostgresConnection> reader_ ABSL_GUARDED_BY(reader_mutex_);
  std::atomic<bool> giving_up_ = false;
  mutable GroupConfirm commit_;
};

absl::StatusOr<PostgresConnection> Connected(const PostgresOptions& options) {
  DTRPO_ASSIGN_OR_RETURN(PostgresConnection made, PostgresConnection::Connect(options.connection));
  DTRPO_RETURN_IF_ERROR(PrepareStatements(made, options.schema));
  return made;
}

// ---------------------------------------------------------------- writing

absl::Status PostgresEngine::CheckUsable() const {
  if (!failed_.ok()) return failed_;
  if (closed_) return absl::FailedPreconditionError("the store is closed");
  return absl::OkStatus();
}

LogIndex PostgresEngine::IndexOf(absl::string_view log) const {
  auto it = logs_.find(log);
  return it != logs_.end() ? it->second : LogIndex{.number = next_log_};
}

Written PostgresEngine::Enqueue(QueuedStep step) {
  if (step.index.number == next_log_) ++next_log_;
  logs_[step.log] = step.index;
  queued_bytes_ += step.bytes;
  step.sequence = ++written_;
  const Written written = {.position = step.index.last, .sequence = step.sequence};
  queue_.push_back(std::move(step));
  commit_.Begin(written.sequence);
  return written;
}

absl::StatusOr<Written> PostgresEngine::Write(absl::string_view log, Operations operations) {
  absl::MutexLock lock(&mutex_);
  DTRPO_RETURN_IF_ERROR(CheckUsable());
  if (queued_bytes_ > kMaxQueuedBytes) {
    return base::BackPressureError("PostgreSQL doesn't keep up with what is written", kStoreBehind,
                                   kBehindRetryAfter);
  }
  QueuedStep step = {
      .log = std::string(log), .index = IndexOf(log), .operations = {}, .snapshot = {}};
  DTRPO_ASSIGN_OR_RETURN(step.index.next_body,
                         CheckOperations(log, operations, step.index.next_body));
  step.first_record = step.index.last + 1;
  step.index.last += static_cast<Position>(operations.records.size());
  for (const std::string& record : operations.records) {
    step.bytes += static_cast<int64_t>(record.size());
  }
  for (const auto& [id, body] : operations.bodies) step.bytes += static_cast<int64_t>(body.size());
  for (BodyRange& range : operations.deleted_bodies) {
    range.end = std::min(range.end, step.index.next_body);
  }
  step.operations = std::move(operations);
  return Enqueue(std::move(step));
}

absl::Status PostgresEngine::WriteSnapshot(absl::string_view log, Snapshot snapshot) {
  absl::MutexLock lock(&mutex_);
  DTRPO_RETURN_IF_ERROR(CheckUsable());
  QueuedStep step = {
      .log = std::string(log), .index = IndexOf(log), .operations = {}, .snapshot = {}};
  DTRPO_RETURN_IF_ERROR(CheckSnapshot(log, snapshot, step.index.first, step.index.last));
  step.index.first = snapshot.position + 1;
  step.first_record = step.index.last + 1;
  step.bytes = static_cast<int64_t>(snapshot.state.size());
  step.snapshot = std::move(snapshot);
  Enqueue(std::move(step));
  return absl::OkStatus();
}

absl::StatusOr<Durability> PostgresEngine::Confirm(Sequence sequence, Durability level,
                                                   absl::Duration timeout) {
  {
    absl::ReaderMutexLock lock(&mutex_);
    DTRPO_RETURN_IF_ERROR(CheckUsable());
    sequence = std::min(sequence, written_);
  }
  if (level == Durability::kMemory) return level;
  DTRPO_RETURN_IF_ERROR(commit_.Await(sequence, timeout));
  return Durability::kSync;
}

absl::Status PostgresEngine::CommitOnce(const Group& group, bool& in_doubt) {
  if (!writer_) {
    DTRPO_ASSIGN_OR_RETURN(writer_, Connected(options_));
    if (in_doubt) {
      DTRPO_ASSIGN_OR_RETURN(const auto found, writer_->Query({.name = "committed",
                                                               .parameters = {BinaryInt(shard_)}}));
      if (found.size() != 1 || found.number(0, 0) != epoch_) {
        return absl::FailedPreconditionError(
            absl::StrCat("another owner took shard ", options_.shard, " over"));
      }
      in_doubt = false;
      if (found.number(0, 1) == group.back().sequence) return absl::OkStatus();
    }
  }
  const bool snapshot = std::any_of(
      group.begin(), group.end(), [](const QueuedStep& step) { return step.snapshot.has_value(); });
  if (snapshot) base::HitFaultPoint("storage.before_snapshot").IgnoreError();
  DTRPO_FAULT_POINT("storage.before_sync");
  in_doubt = true;
  DTRPO_RETURN_IF_ERROR(writer_->Transaction(
      StatementsOf(group, {.number = shard_, .epoch = epoch_, .committed = committed_})));
  in_doubt = false;
  base::HitFaultPoint("storage.after_sync").IgnoreError();
  return absl::OkStatus();
}

absl::Status PostgresEngine::CommitQueued(int64_t* done_up_to) {
  Group group;
  int64_t bytes = 0;
  {
    absl::MutexLock lock(&mutex_);
    size_t size = 0;
    while (size < queue_.size() && (size == 0 || bytes + queue_[size].bytes <= kMaxGroupBytes)) {
      bytes += queue_[size++].bytes;
    }
    group.assign(std::make_move_iterator(queue_.begin()),
                 std::make_move_iterator(queue_.begin() + static_cast<int64_t>(size)));
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<int64_t>(size));
  }
  *done_up_to = committed_;
  if (group.empty()) return absl::OkStatus();

  bool in_doubt = false;
  absl::Status status = CommitOnce(group, in_doubt);
  while (absl::IsUnavailable(status) && !giving_up_) {
    writer_.reset();
    commit_.Note(std::string(status.message()));
    base::LogWarning("the store waits for its server",
                     {{"shard", options_.shard}, {"error", status}});
    absl::SleepFor(kRetryEvery);
    status = CommitOnce(group, in_doubt);
  }
  commit_.Note("");
  absl::MutexLock lock(&mutex_);
  queued_bytes_ -= bytes;
  if (!status.ok()) {
    failed_ = base::Annotate(status, "the store failed and takes nothing until it is opened again");
    base::SetReason(failed_, absl::IsFailedPrecondition(status) ? kFenced : kStoreFailed);
    base::LogError("the store failed", {{"shard", options_.shard}, {"error", failed_}});
    return failed_;
  }
  committed_ = *done_up_to = group.back().sequence;
  return absl::OkStatus();
}

// ---------------------------------------------------------------- reading

absl::StatusOr<std::vector<std::string>> PostgresEngine::Logs() const {
  absl::ReaderMutexLock lock(&mutex_);
  std::vector<std::string> names;
  for (const auto& [name, index] : logs_) names.push_back(name);
  return names;
}

absl::StatusOr<LogIndex> PostgresEngine::Settle(absl::string_view log) const {
  Sequence written = 0;
  LogIndex index;
  {
    absl::ReaderMutexLock lock(&mutex_);
    if (closed_) return absl::FailedPreconditionError("the store is closed");
    written = written_;
    index = IndexOf(log);
  }
  DTRPO_RETURN_IF_ERROR(commit_.Await(written, kConfirmTimeout));
  return index;
}

// Reading is repeated once over a new connection.
absl::StatusOr<PostgresConnection::Result> PostgresEngine::Read(const Statement& statement) const {
  absl::MutexLock lock(&reader_mutex_);
  if (reader_) {
    auto result = reader_->Query(statement);
    if (!absl::IsUnavailable(result.status())) return result;
    reader_.reset();
  }
  DTRPO_ASSIGN_OR_RETURN(reader_, Connected(options_));
  return reader_->Query(statement);
}

absl::StatusOr<std::vector<std::string>> PostgresEngine::ReadBodies(
    absl::string_view log, absl::Span<const BodyId> ids) const {
  DTRPO_ASSIGN_OR_RETURN(const LogIndex index, Settle(log));
  DTRPO_ASSIGN_OR_RETURN(
      const auto rows,
      Read({"read_bodies",
            {BinaryInt(shard_), BinaryInt(static_cast<int64_t>(index.number)), BinaryInts(ids)}}));
  std::map<BodyId, absl::string_view> found;
  for (int i = 0; i < rows.size(); ++i) found[rows.number(i, 0)] = rows.bytes(i, 1);
  std::vector<std::string> bodies;
  bodies.reserve(ids.size());
  for (BodyId id : ids) {
    auto it = found.find(id);
    if (it == found.end()) {
      return absl::NotFoundError(absl::StrCat("log '", log, "' has no body ", id));
    }
    bodies.emplace_back(it->second);
  }
  return bodies;
}

absl::Status PostgresEngine::Replay(
    absl::string_view log, Position position,
    absl::FunctionRef<absl::Status(Position, absl::string_view record)> visit) const {
  DTRPO_ASSIGN_OR_RETURN(const LogIndex index, Settle(log));
  if (index.last > 0 && position + 1 < index.first) {
    return absl::OutOfRangeError(absl::StrCat("log '", log, "' begins at position ", index.first,
                                              ", asked for ", position + 1));
  }
  for (Position at = position; at < index.last;) {
    DTRPO_ASSIGN_OR_RETURN(
        const auto rows,
        Read({"read_records",
              {BinaryInt(shard_), BinaryInt(static_cast<int64_t>(index.number)), BinaryInt(at)}}));
    for (int i = 0; i < rows.size() && at < index.last; ++i) {
      if (rows.number(i, 0) != ++at) {
        return absl::DataLossError(absl::StrCat("log '", log, "': record ", at, " is missing"));
      }
      DTRPO_RETURN_IF_ERROR(visit(at, rows.bytes(i, 1)));
    }
    if (rows.size() == 0) {
      return absl::DataLossError(absl::StrCat("log '", log, "': record ", at + 1, " is missing"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Snapshot>> PostgresEngine::ReadSnapshot(absl::string_view log) const {
  DTRPO_ASSIGN_OR_RETURN(const LogIndex index, Settle(log));
  DTRPO_ASSIGN_OR_RETURN(
      const auto rows,
      Read({"read_snapshot", {BinaryInt(shard_), BinaryInt(static_cast<int64_t>(index.number))}}));
  if (rows.size() == 0) return std::optional<Snapshot>();
  return Snapshot{.position = rows.number(0, 0), .state = std::string(rows.bytes(0, 1))};
}

absl::StatusOr<LogSize> PostgresEngine::SizeOf(absl::string_view log) const {
  DTRPO_ASSIGN_OR_RETURN(const LogIndex index, Settle(log));
  LogSize size = {.first = index.first, .last = index.last, .record_bytes = 0, .snapshot_bytes = 0};
  DTRPO_ASSIGN_OR_RETURN(
      const auto rows,
      Read({"record_bytes", {BinaryInt(shard_), BinaryInt(static_cast<int64_t>(index.number))}}));
  if (rows.size() == 1) size.record_bytes = rows.number(0, 0);
  DTRPO_ASSIGN_OR_RETURN(const std::optional<Snapshot> snapshot, ReadSnapshot(log));
  if (snapshot) size.snapshot_bytes = static_cast<int64_t>(snapshot->state.size());
  return size;
}

absl::StatusOr<StoreSize> PostgresEngine::Size() const {
  DTRPO_ASSIGN_OR_RETURN(const auto rows, Read({"database_bytes", {}}));
  return StoreSize{.disk_bytes = rows.number(0, 0), .free_bytes = -1};
}

absl::Status PostgresEngine::Close() {
  Sequence written = 0;
  {
    absl::MutexLock lock(&mutex_);
    if (closed_) return absl::OkStatus();
    closed_ = true;
    written = written_;
  }
  const absl::Status confirmed = commit_.Await(written, kConfirmTimeout);
  giving_up_ = true;
  return confirmed;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StorageEngine>> OpenPostgres(const PostgresOptions& options) {
  const absl::Time give_up = absl::Now() + options.open_timeout;
  auto open = [&options]() -> absl::StatusOr<std::unique_ptr<StorageEngine>> {
    DTRPO_ASSIGN_OR_RETURN(PostgresConnection first,
                           PostgresConnection::Connect(options.connection));
    DTRPO_RETURN_IF_ERROR(MakeSchema(first, options.schema));
    DTRPO_RETURN_IF_ERROR(PrepareStatements(first, options.schema));
    DTRPO_ASSIGN_OR_RETURN(PostgresConnection reader, Connected(options));
    DTRPO_ASSIGN_OR_RETURN(TakenShard taken, TakeShard(first, options.shard));
    return std::make_unique<PostgresEngine>(options, std::move(first), std::move(reader),
                                            std::move(taken));
  };
  for (;;) {
    auto engine = open();
    if (!absl::IsUnavailable(engine.status()) || absl::Now() >= give_up) return engine;
    absl::SleepFor(kRetryEvery);
  }
}

}  // namespace dtrpo::storage

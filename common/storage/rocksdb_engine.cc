#include "common/storage/rocksdb_engine.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "common/base/fault_points.h"
#include "common/base/logging.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"
#include "common/storage/free_space.h"
#include "common/storage/group_confirm.h"
#include "common/storage/operations_check.h"
#include "common/storage/rocksdb_keys.h"
#include "common/storage/rocksdb_open.h"
#include "common/storage/rocksdb_status.h"
#include "common/storage/space_reclaimer.h"
#include "rocksdb/write_batch.h"

namespace dtrpo::storage {
namespace {

constexpr Position kLastPosition = std::numeric_limits<Position>::max();
constexpr absl::Duration kStallRetryAfter = absl::Milliseconds(100);
// From so many ids on, one range deletion is cheaper than a deletion of each.
constexpr BodyId kRangeDeletion = 64;

absl::string_view ToView(const rocksdb::Slice& bytes) { return {bytes.data(), bytes.size()}; }

class RocksDbEngine final : public StorageEngine {
 public:
  RocksDbEngine(OpenedRocksDb opened, const RocksDbOptions& options)
      : folder_(std::move(opened.folder)),
        db_(std::move(opened.db)),
        log_family_(opened.log_family),
        body_family_(opened.body_family),
        files_(options.files),
        epoch_(opened.epoch),
        free_space_(folder_.path(), options.min_free_bytes),
        logs_(std::move(opened.logs)),
        next_log_(opened.next_log),
        reclaimer_(db_.get(), body_family_, log_family_),
        sync_([this](int64_t* done_up_to) { return Sync(done_up_to); }, options.on_sync) {}
  ~RocksDbEngine() override {
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
  absl::Status Fail(const absl::Status& why) ABSL_LOCKS_EXCLUDED(mutex_);
  // The log; null when there is none of that name.
  const LogIndex* Find(absl::string_view log) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  absl::Status Put(rocksdb::WriteBatch& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Flush(Sequence sequence) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Sync(int64_t* done_up_to) ABSL_LOCKS_EXCLUDED(mutex_);

  StoreFolder folder_;  // locked until everything else is gone
  std::unique_ptr<rocksdb::DB> db_;
  rocksdb::ColumnFamilyHandle* const log_family_;
  rocksdb::ColumnFamilyHandle* const body_family_;
  base::FileSystem* const files_;
  const int64_t epoch_;
  FreeSpace free_space_;

  mutable absl::Mutex mutex_;
  LogIndexes logs_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_log_ ABSL_GUARDED_BY(mutex_);
  absl::Status failed_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::atomic<Sequence> written_ = 0;  // what is in RocksDB's buffer

  absl::Mutex flush_mutex_;  // taken before mutex_
  Sequence flushed_ ABSL_GUARDED_BY(flush_mutex_) = 0;

  SpaceReclaimer reclaimer_;
  GroupConfirm sync_;
};

// ---------------------------------------------------------------- writing

absl::Status RocksDbEngine::CheckUsable() const {
  if (!failed_.ok()) return failed_;
  if (closed_) return absl::FailedPreconditionError("the store is closed");
  return absl::OkStatus();
}

absl::Status RocksDbEngine::Fail(const absl::Status& why) {
  absl::MutexLock lock(&mutex_);
  if (!failed_.ok()) return failed_;
  failed_ = base::Annotate(why, "the store in ", folder_.path(),
                           " failed and takes nothing until it is opened again");
  base::SetReason(failed_, kStoreFailed);
  base::LogError("the store failed", {{"error", failed_}});
  return failed_;
}

const LogIndex* RocksDbEngine::Find(absl::string_view log) const {
  auto it = logs_.find(log);
  return it == logs_.end() ? nullptr : &it->second;
}

// On a RESOURCE_EXHAUSTED nothing was written.
absl::Status RocksDbEngine::Put(rocksdb::WriteBatch& batch) {
  rocksdb::WriteOptions options;
  options.no_slowdown = true;  // a caller's lock must not wait for the disk
  const rocksdb::Status written = db_->Write(options, &batch);
  if (written.IsIncomplete()) {
    return base::BackPressureError("the disk doesn't keep up with what is written", kStoreBehind,
                                   kStallRetryAfter);
  }
  if (!written.ok()) {
    failed_ = FromRocksDb(written, "writing to the log");
    base::SetReason(failed_, kStoreFailed);
    base::LogError("the store failed", {{"folder", folder_.path()}, {"error", failed_}});
    return failed_;
  }
  return absl::OkStatus();
}

absl::StatusOr<Written> RocksDbEngine::Write(absl::string_view log, Operations operations) {
  DTRPO_RETURN_IF_ERROR(free_space_.Check());
  absl::MutexLock lock(&mutex_);
  DTRPO_RETURN_IF_ERROR(CheckUsable());
  const LogIndex* existing = Find(log);
  LogIndex index = existing != nullptr ? *existing : LogIndex{.number = next_log_};
  DTRPO_ASSIGN_OR_RETURN(index.next_body, CheckOperations(log, operations, index.next_body));

  rocksdb::WriteBatch batch;
  size_t bytes = 0;
  if (existing == nullptr) {
    batch.Put(absl::StrCat(keys::kName, log), keys::Number(index.number));
  }
  for (const std::string& record : operations.records) {
    batch.Put(log_family_, keys::Pair(index.number, ++index.last), record);
    bytes += record.size();
  }
  for (const auto& [id, body] : operations.bodies) {
    batch.Put(body_family_, keys::Pair(index.number, id), body);
    bytes += body.size();
  }
  std::vector<BodyRange> large;
  for (BodyRange range : operations.deleted_bodies) {
    range.first = std::max<BodyId>(range.first, 0);
    range.end = std::min(range.end, index.next_body);
    if (range.end - range.first >= kRangeDeletion) {
      batch.DeleteRange(body_family_, keys::Pair(index.number, range.first),
                        keys::Pair(index.number, range.end));
      large.push_back(range);
      continue;
    }
    for (BodyId id = range.first; id < range.end; ++id) {
      batch.Delete(body_family_, keys::Pair(index.number, id));
    }
  }
  DTRPO_RETURN_IF_ERROR(Put(batch));
  free_space_.Count(static_cast<int64_t>(bytes));
  if (existing == nullptr) ++next_log_;
  logs_[std::string(log)] = index;
  for (const BodyRange& range : large) {
    reclaimer_.Reclaim(keys::Pair(index.number, range.first), keys::Pair(index.number, range.end));
  }
  const Sequence sequence = written_.load(std::memory_order_relaxed) + 1;
  written_.store(sequence, std::memory_order_release);
  return Written{.position = index.last, .sequence = sequence};
}

// ---------------------------------------------------------------- confirming

absl::StatusOr<Durability> RocksDbEngine::Confirm(Sequence sequence, Durability level,
                                                  absl::Duration timeout) {
  {
    absl::ReaderMutexLock lock(&mutex_);
    DTRPO_RETURN_IF_ERROR(CheckUsable());
  }
  sequence = std::min(sequence, written_.load(std::memory_order_acquire));
  if (level == Durability::kMemory) return level;
  const absl::Status confirmed =
      level == Durability::kLog ? Flush(sequence) : sync_.Await(sequence, timeout);
  if (confirmed.ok()) return level;
  if (absl::IsDeadlineExceeded(confirmed)) return confirmed;
  return Fail(confirmed);
}

// Whoever waited for the lock meanwhile mostly finds his step written by another.
absl::Status RocksDbEngine::Flush(Sequence sequence) {
  absl::MutexLock lock(&flush_mutex_);
  if (flushed_ >= sequence) return absl::OkStatus();
  const Sequence target = written_.load(std::memory_order_acquire);
  DTRPO_FAULT_POINT("storage.before_log");
  DTRPO_RETURN_IF_ERROR(FromRocksDb(db_->FlushWAL(/*sync=*/false), "writing the log"));
  base::HitFaultPoint("storage.after_log").IgnoreError();
  flushed_ = target;
  return absl::OkStatus();
}

absl::Status RocksDbEngine::Sync(int64_t* done_up_to) {
  const Sequence target = written_.load(std::memory_order_acquire);
  DTRPO_FAULT_POINT("storage.before_sync");
  DTRPO_RETURN_IF_ERROR(FromRocksDb(db_->FlushWAL(/*sync=*/true), "syncing the log"));
  base::HitFaultPoint("storage.after_sync").IgnoreError();
  *done_up_to = target;
  return absl::OkStatus();
}

// ---------------------------------------------------------------- reading

absl::StatusOr<std::vector<std::string>> RocksDbEngine::Logs() const {
  absl::ReaderMutexLock lock(&mutex_);
  std::vector<std::string> names;
  names.reserve(logs_.size());
  for (const auto& [name, index] : logs_) names.push_back(name);
  return names;
}

absl::StatusOr<std::vector<std::string>> RocksDbEngine::ReadBodies(
    absl::string_view log, absl::Span<const BodyId> ids) const {
  LogIndex index;
  {
    absl::ReaderMutexLock lock(&mutex_);
    if (closed_) return absl::FailedPreconditionError("the store is closed");
    if (const LogIndex* found = Find(log)) index = *found;
  }
  std::vector<std::string> names;
  std::vector<rocksdb::Slice> slices;
  names.reserve(ids.size());
  for (BodyId id : ids) names.push_back(keys::Pair(index.number, id));
  for (const std::string& name : names) slices.push_back(name);
  std::vector<rocksdb::PinnableSlice> values(ids.size());
  std::vector<rocksdb::Status> results(ids.size());
  db_->MultiGet(rocksdb::ReadOptions(), body_family_, slices.size(), slices.data(), values.data(),
                results.data());
  std::vector<std::string> bodies;
  bodies.reserve(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    if (results[i].IsNotFound()) {
      return absl::NotFoundError(absl::StrCat("log '", log, "' has no body ", ids[i]));
    }
    DTRPO_RETURN_IF_ERROR(FromRocksDb(results[i], absl::StrCat("log '", log, "', body ", ids[i])));
    bodies.emplace_back(values[i].data(), values[i].size());
  }
  return bodies;
}

absl::Status RocksDbEngine::Replay(
    absl::string_view log, Position position,
    absl::FunctionRef<absl::Status(Position, absl::string_view record)> visit) const {
  LogIndex index;
  {
    absl::ReaderMutexLock lock(&mutex_);
    if (closed_) return absl::FailedPreconditionError("the store is closed");
    const LogIndex* found = Find(log);
    if (found == nullptr) return absl::OkStatus();
    index = *found;
  }
  if (position + 1 < index.first) {
    return absl::OutOfRangeError(absl::StrCat("log '", log, "' begins at position ", index.first,
                                              ", asked for ", position + 1));
  }
  const std::string end = keys::Pair(index.number, kLastPosition);
  const rocksdb::Slice end_slice = end;
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &end_slice;
  options.readahead_size = 1 << 20;
  options.fill_cache = false;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options, log_family_));
  Position at = position;
  for (it->Seek(keys::Pair(index.number, position + 1)); it->Valid() && at < index.last;
       it->Next()) {
    ++at;
    if (keys::NumberOf(index.number, ToView(it->key())) != at) {
      return absl::DataLossError(absl::StrCat("log '", log, "': record ", at, " is missing"));
    }
    DTRPO_RETURN_IF_ERROR(visit(at, ToView(it->value())));
  }
  DTRPO_RETURN_IF_ERROR(FromRocksDb(it->status(), absl::StrCat("log '", log, "'")));
  if (at >= index.last) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("log '", log, "': record ", at + 1, " is missing"));
}

// ---------------------------------------------------------------- snapshots

absl::Status RocksDbEngine::WriteSnapshot(absl::string_view log, Snapshot snapshot) {
  absl::MutexLock lock(&mutex_);
  DTRPO_RETURN_IF_ERROR(CheckUsable());
  const LogIndex* existing = Find(log);
  LogIndex index = existing != nullptr ? *existing : LogIndex{.number = next_log_};
  DTRPO_RETURN_IF_ERROR(CheckSnapshot(log, snapshot, index.first, index.last));
  rocksdb::WriteBatch batch;
  if (existing == nullptr) {
    batch.Put(absl::StrCat(keys::kName, log), keys::Number(index.number));
  }
  batch.Put(keys::Snapshot(index.number),
            absl::StrCat(keys::Number(static_cast<uint64_t>(snapshot.position)), snapshot.state));
  if (snapshot.position >= index.first) {
    batch.DeleteRange(log_family_, keys::Pair(index.number, index.first),
                      keys::Pair(index.number, snapshot.position + 1));
  }
  DTRPO_FAULT_POINT("storage.before_snapshot");
  DTRPO_RETURN_IF_ERROR(Put(batch));
  base::HitFaultPoint("storage.after_snapshot").IgnoreError();
  if (existing == nullptr) ++next_log_;
  index.first = snapshot.position + 1;
  logs_[std::string(log)] = index;
  written_.store(written_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Snapshot>> RocksDbEngine::ReadSnapshot(absl::string_view log) const {
  LogIndex index;
  {
    absl::ReaderMutexLock lock(&mutex_);
    if (closed_) return absl::FailedPreconditionError("the store is closed");
    const LogIndex* found = Find(log);
    if (found == nullptr) return std::optional<Snapshot>();
    index = *found;
  }
  return ReadSnapshotOf(*db_, log, index.number);
}

absl::StatusOr<LogSize> RocksDbEngine::SizeOf(absl::string_view log) const {
  LogIndex index;
  {
    absl::ReaderMutexLock lock(&mutex_);
    if (closed_) return absl::FailedPreconditionError("the store is closed");
    if (const LogIndex* found = Find(log)) index = *found;
  }
  LogSize size = {.first = index.first, .last = index.last, .record_bytes = 0, .snapshot_bytes = 0};
  const std::string first = keys::Pair(index.number, 0);
  const std::string end = keys::Pair(index.number, kLastPosition);
  const rocksdb::Range range(first, end);
  uint64_t bytes = 0;
  rocksdb::SizeApproximationOptions options;
  options.include_memtables = true;
  DTRPO_RETURN_IF_ERROR(FromRocksDb(
      db_->GetApproximateSizes(options, log_family_, &range, 1, &bytes), "the log's size"));
  size.record_bytes = static_cast<int64_t>(bytes);
  DTRPO_ASSIGN_OR_RETURN(const std::optional<Snapshot> snapshot, ReadSnapshot(log));
  if (snapshot) size.snapshot_bytes = static_cast<int64_t>(snapshot->state.size());
  return size;
}

absl::StatusOr<StoreSize> RocksDbEngine::Size() const {
  {
    absl::ReaderMutexLock lock(&mutex_);
    if (closed_) return absl::FailedPreconditionError("the store is closed");
  }
  StoreSize size = {.disk_bytes = 0, .free_bytes = free_space_.Now()};
  DTRPO_ASSIGN_OR_RETURN(const std::vector<std::string> names, files_->List(folder_.database()));
  for (const std::string& name : names) {
    // Files come and go meanwhile.
    const absl::StatusOr<uint64_t> bytes =
        files_->FileSizeBytes(base::JoinPath(folder_.database(), name));
    if (bytes.ok()) size.disk_bytes += static_cast<int64_t>(*bytes);
  }
  return size;
}

absl::Status RocksDbEngine::Close() {
  {
    absl::MutexLock lock(&mutex_);
    if (closed_) return absl::OkStatus();
  }
  const absl::Status confirmed =
      Confirm(written_.load(), Durability::kSync, kConfirmTimeout).status();
  reclaimer_.Stop();
  bool failed = false;
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    failed = !failed_.ok();
  }
  if (failed) {
    // RocksDB would write the rest of its log, which after a failed write stops the process (Debian
    // builds it with assertions). So the database stays as it is, locked, until the process ends.
    db_.release();
    new StoreFolder(std::move(folder_));
    return confirmed;
  }
  db_->DestroyColumnFamilyHandle(log_family_).PermitUncheckedError();
  db_->DestroyColumnFamilyHandle(body_family_).PermitUncheckedError();
  const absl::Status closed = FromRocksDb(db_->Close(), "closing the store");
  return confirmed.ok() ? closed : confirmed;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StorageEngine>> OpenRocksDb(const RocksDbOptions& options) {
  DTRPO_ASSIGN_OR_RETURN(OpenedRocksDb opened, OpenRocksDbFolder(options));
  return std::make_unique<RocksDbEngine>(std::move(opened), options);
}

}  // namespace dtrpo::storage

#include "services/replay/job_table.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/fault_points.h"
#include "common/base/logging.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"
#include "services/replay/batch_slice.h"
#include "services/replay/log_codec.h"

namespace dtrpo::replay {
namespace {

constexpr absl::Duration kReplyMargin = absl::Milliseconds(100);
constexpr absl::Duration kCancellationCheck = absl::Seconds(1);
constexpr absl::Duration kShutdownRetryAfter = absl::Seconds(1);

// Consecutive ids as ranges: what a batch deletes is mostly consecutive.
void AddRanges(const std::vector<ItemId>& items, std::vector<storage::BodyRange>* ranges) {
  for (ItemId id : items) {
    if (!ranges->empty() && ranges->back().end == id) {
      ++ranges->back().end;
    } else {
      ranges->push_back({.first = id, .end = id + 1});
    }
  }
}

// What a table shows in the gauges and counters of the whole store.
struct Shown {
  explicit Shown(const ReplayTable& table)
      : counters(table.counters()),
        items(table.items()),
        bytes(table.bytes()),
        available(table.available_items()),
        assigned(table.assigned_items()) {}
  Shown() = default;

  TableCounters counters;
  int64_t items = 0;
  int64_t bytes = 0;
  int64_t available = 0;
  int64_t assigned = 0;
};

void MoveGauges(const Shown& before, const Shown& after, ReplayMetrics* metrics) {
  auto add = [](base::Gauge* gauge, int64_t change) { gauge->Add(static_cast<double>(change)); };
  add(metrics->stored_pairs, after.items - before.items);
  add(metrics->stored_bytes, after.bytes - before.bytes);
  add(metrics->available_pairs, after.available - before.available);
  add(metrics->assigned_pairs, after.assigned - before.assigned);
}

void RaiseCounters(const TableCounters& before, const TableCounters& after,
                   ReplayMetrics* metrics) {
  auto add = [](base::Counter* counter, int64_t change) {
    counter->Increment(static_cast<double>(change));
  };
  add(metrics->inserted_pairs, after.inserted_items - before.inserted_items);
  add(metrics->inserted_prompts, after.inserted_prompts - before.inserted_prompts);
  add(metrics->no_pair_prompts, after.no_pair_prompts - before.no_pair_prompts);
  add(metrics->evicted_pairs, after.evicted_items - before.evicted_items);
  add(metrics->consumed_pairs, after.consumed_items - before.consumed_items);
}

}  // namespace

// ---------------------------------------------------------------- making one

JobTable::JobTable(std::string job_id, const JobTableDeps& deps, ReplayTable table,
                   storage::Position logged_position, storage::Position snapshot_position)
    : job_id_(std::move(job_id)),
      deps_(deps),
      table_(std::move(table)),
      logged_position_(logged_position),
      snapshot_position_(snapshot_position) {
  MoveGauges(Shown(), Shown(table_), deps_.metrics);
}

JobTable::~JobTable() { MoveGauges(Shown(table_), Shown(), deps_.metrics); }

absl::StatusOr<std::unique_ptr<JobTable>> JobTable::Create(const std::string& job_id,
                                                           const TableOptions& options,
                                                           const JobTableDeps& deps) {
  DTRPO_ASSIGN_OR_RETURN(
      const storage::Confirmation confirmed,
      base::Annotate(deps.engine->Append(job_id, {.records = {EncodeRecord(JobOpened{options})}}),
                     "opening job ", job_id));
  DTRPO_CHECK_EQ(confirmed.position, 1);
  return std::unique_ptr<JobTable>(
      new JobTable(job_id, deps, ReplayTable(options), confirmed.position, 0));
}

absl::StatusOr<std::unique_ptr<JobTable>> JobTable::Restore(const std::string& job_id,
                                                            const JobTableDeps& deps) {
  DTRPO_ASSIGN_OR_RETURN(const std::optional<storage::Snapshot> snapshot,
                         deps.engine->ReadSnapshot(job_id));
  std::optional<ReplayTable> table;
  storage::Position position = 0;
  if (snapshot.has_value()) {
    DTRPO_ASSIGN_OR_RETURN(const TableSnapshot state, DecodeSnapshot(snapshot->state));
    table.emplace(state);
    position = snapshot->position;
  }
  const storage::Position snapshot_position = position;
  absl::Status replayed = deps.engine->Replay(
      job_id, position, [&](storage::Position at, absl::string_view bytes) -> absl::Status {
        DTRPO_ASSIGN_OR_RETURN(const LogRecord record, DecodeRecord(bytes));
        const JobOpened* opened = std::get_if<JobOpened>(&record);
        if ((opened != nullptr) == table.has_value()) {
          return absl::DataLossError(absl::StrCat("position ", at, ": the job is opened ",
                                                  table.has_value() ? "twice" : "too late"));
        }
        if (opened != nullptr) {
          table.emplace(opened->options);
        } else {
          table->Apply(record);
        }
        position = at;
        return absl::OkStatus();
      });
  DTRPO_RETURN_IF_ERROR(base::Annotate(replayed, "restoring job ", job_id));
  if (!table.has_value()) return absl::NotFoundError(absl::StrCat("job ", job_id, " has no log"));
  return std::unique_ptr<JobTable>(
      new JobTable(job_id, deps, *std::move(table), position, snapshot_position));
}

// ---------------------------------------------------------------- log, then apply

absl::Status JobTable::CheckOpen() const {
  if (table_.closed()) {
    absl::Status status =
        absl::FailedPreconditionError(absl::StrCat("job ", job_id_, " is closed"));
    base::SetReason(status, kJobClosed);
    return status;
  }
  if (stopped_) {
    absl::Status status = absl::UnavailableError("the replay store is shutting down");
    base::SetReason(status, kShuttingDown);
    base::SetRetryAfter(status, kShutdownRetryAfter);
    return status;
  }
  return absl::OkStatus();
}

absl::Status JobTable::Commit(const LogRecords& records, std::vector<StoredPair> pairs) {
  if (records.empty()) return absl::OkStatus();
  storage::Operations operations;
  for (const LogRecord& record : records) {
    operations.records.push_back(EncodeRecord(record));
    if (const auto* stored = std::get_if<PromptStored>(&record)) {
      DTRPO_CHECK_EQ(stored->items.size(), pairs.size());
      for (size_t i = 0; i < pairs.size(); ++i) {
        operations.bodies.emplace_back(stored->first_item + static_cast<ItemId>(i),
                                       std::move(pairs[i].body));
      }
    } else if (const auto* deleted = std::get_if<ItemsDeleted>(&record)) {
      AddRanges(deleted->items, &operations.deleted_bodies);
    } else if (std::holds_alternative<JobClosed>(record)) {
      operations.deleted_bodies = {{.first = 0, .end = table_.next_item()}};
    }
  }
  DTRPO_FAULT_POINT("replay.before_log");
  DTRPO_ASSIGN_OR_RETURN(const storage::Confirmation confirmed,
                         base::Annotate(deps_.engine->Append(job_id_, std::move(operations)),
                                        "the log of job ", job_id_));
  // From here on nothing may fail: what is logged has happened.
  base::HitFaultPoint("replay.after_log").IgnoreError();
  const Shown before(table_);
  for (const LogRecord& record : records) table_.Apply(record);
  logged_position_ = confirmed.position;
  ++commits_;
  const Shown after(table_);
  MoveGauges(before, after, deps_.metrics);
  if (!table_.closed()) RaiseCounters(before.counters, after.counters, deps_.metrics);
  WriteSnapshotWhenDue();
  return absl::OkStatus();
}

void JobTable::WriteSnapshotWhenDue() {
  const bool due = logged_position_ - snapshot_position_ >= deps_.records_per_snapshot;
  if (!due && !table_.closed()) return;
  absl::Status written = deps_.engine->WriteSnapshot(
      job_id_, {.position = logged_position_, .state = EncodeSnapshot(table_.ToSnapshot())});
  if (written.ok()) {
    snapshot_position_ = logged_position_;
  } else {
    // The log still has it all; the next commit tries again.
    base::LogWarning("can't write a snapshot", {{"job", job_id_}, {"error", written}});
  }
}

// ---------------------------------------------------------------- operations

absl::StatusOr<InsertOutcome> JobTable::Insert(const PromptKey& prompt,
                                               std::vector<StoredPair> pairs) {
  std::vector<NewItem> items;
  items.reserve(pairs.size());
  for (const StoredPair& pair : pairs) {
    items.push_back(
        {.version = pair.version, .size_bytes = static_cast<int64_t>(pair.body.size())});
  }
  absl::MutexLock lock(&mutex_);
  DTRPO_RETURN_IF_ERROR(CheckOpen());
  absl::StatusOr<LogRecords> records = table_.PlanInsert(prompt, items);
  if (absl::IsResourceExhausted(records.status())) deps_.metrics->refused_inserts->Increment();
  DTRPO_RETURN_IF_ERROR(records.status());
  if (records->empty()) {
    ++duplicate_inserts_;
    deps_.metrics->duplicate_inserts->Increment();
    return InsertOutcome{.duplicate = true, .durability = deps_.engine->durability()};
  }
  DTRPO_RETURN_IF_ERROR(Commit(*records, std::move(pairs)));
  return InsertOutcome{.duplicate = false, .durability = deps_.engine->durability()};
}

absl::Status JobTable::FormUpTo(int64_t batch) {
  while (table_.formed_batch() < batch) {
    DTRPO_ASSIGN_OR_RETURN(const LogRecords records, table_.PlanNextBatch());
    DTRPO_RETURN_IF_ERROR(Commit(records));
    const int64_t formed = table_.formed_batch();
    deps_.metrics->formed_batches->Increment();
    for (const BatchEntry& entry : table_.batch(formed).entries) {
      deps_.metrics->pair_lag_versions->Observe(
          static_cast<double>(table_.LagVersions(formed, entry)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<RankBatch> JobTable::ReadSlice(const BatchRequest& request) {
  const Batch& batch = table_.batch(request.batch);
  const Slice slice =
      RankSlice(static_cast<int64_t>(batch.entries.size()), request.rank, request.world);
  RankBatch result = {.number = batch.number,
                      .policy_version = table_.PolicyVersion(batch.number),
                      .global_pairs = static_cast<int64_t>(batch.entries.size()),
                      .last = batch.last,
                      .entries = {}};
  std::vector<ItemId> ids;
  for (int64_t i = slice.begin; i < slice.end; ++i) ids.push_back(batch.entries[i].item);
  DTRPO_ASSIGN_OR_RETURN(
      std::vector<std::string> bodies,
      base::Annotate(deps_.engine->ReadBodies(job_id_, ids), "batch ", batch.number));
  for (int64_t i = slice.begin; i < slice.end; ++i) {
    const BatchEntry& entry = batch.entries[i];
    result.entries.push_back({.body = std::move(bodies[i - slice.begin]),
                              .use_index = entry.use_index,
                              .lag_versions = table_.LagVersions(batch.number, entry)});
  }
  return result;
}

absl::StatusOr<RankBatch> JobTable::GetBatch(const BatchRequest& request, absl::Time deadline,
                                             const std::function<bool()>& cancelled) {
  if (request.world < 1) {
    return absl::InvalidArgumentError(absl::StrCat("world: ", request.world, " < 1"));
  }
  if (request.rank < 0 || request.rank >= request.world) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank: ", request.rank, " is outside [0, ", request.world, ")"));
  }
  const absl::Time start = deps_.clock->Now();
  const absl::Time give_up = deadline - std::min(kReplyMargin, (deadline - start) / 10);
  std::optional<base::ScopedWait> registered;

  absl::MutexLock lock(&mutex_);
  for (;;) {
    // Anything may have changed while this call waited, so all is checked again.
    DTRPO_RETURN_IF_ERROR(CheckOpen());
    DTRPO_ASSIGN_OR_RETURN(const LogRecords granted, table_.PlanAttempt(request.attempt));
    DTRPO_RETURN_IF_ERROR(Commit(granted));
    DTRPO_RETURN_IF_ERROR(table_.CheckBatchNumber(request.batch));
    const absl::Status formed = FormUpTo(request.batch);
    const absl::Time now = deps_.clock->Now();
    if (formed.ok()) {
      deps_.metrics->batch_wait_seconds->Observe(absl::ToDoubleSeconds(now - start));
      return ReadSlice(request);
    }
    if (!absl::IsUnavailable(formed) || now >= give_up || cancelled()) return formed;

    if (!registered.has_value()) {
      registered.emplace(deps_.waits,
                         absl::StrCat("pairs for batch ", request.batch, " of job ", job_id_),
                         "rollouts");
    }
    const int64_t seen = commits_;
    auto changed = [this, seen]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return commits_ != seen || stopped_;
    };
    deps_.clock->AwaitUntil(&mutex_, absl::Condition(&changed),
                            std::min(give_up, now + kCancellationCheck));
  }
}

absl::Status JobTable::Acknowledge(int32_t attempt, int64_t up_to_batch) {
  absl::MutexLock lock(&mutex_);
  DTRPO_RETURN_IF_ERROR(CheckOpen());
  DTRPO_ASSIGN_OR_RETURN(LogRecords granted, table_.PlanAttempt(attempt));
  DTRPO_RETURN_IF_ERROR(Commit(granted));
  DTRPO_ASSIGN_OR_RETURN(LogRecords records, table_.PlanAcknowledge(up_to_batch));
  return Commit(records);
}

absl::Status JobTable::SetMarks(int64_t newest_version, bool end_of_data,
                                int64_t forget_epochs_below) {
  absl::MutexLock lock(&mutex_);
  DTRPO_RETURN_IF_ERROR(CheckOpen());
  return Commit(table_.PlanMarks(newest_version, end_of_data, forget_epochs_below));
}

absl::StatusOr<EventPage> JobTable::PollEvents(int64_t after_position, int64_t max_events,
                                               int64_t acknowledged_position) {
  absl::MutexLock lock(&mutex_);
  DTRPO_RETURN_IF_ERROR(CheckOpen());
  DTRPO_RETURN_IF_ERROR(Commit(table_.PlanDropEvents(acknowledged_position)));
  return EventPage{.events = table_.ledger().EventsAfter(after_position, max_events),
                   .last_position = table_.ledger().last_position()};
}

TableStats JobTable::Stats() const {
  absl::MutexLock lock(&mutex_);
  return {.options = table_.options(),
          .counters = table_.counters(),
          .items = table_.items(),
          .bytes = table_.bytes(),
          .available_items = table_.available_items(),
          .assigned_items = table_.assigned_items(),
          .formed_batch = table_.formed_batch(),
          .acknowledged_batch = table_.acknowledged_batch(),
          .newest_version = table_.newest_version(),
          .duplicate_inserts = duplicate_inserts_,
          .attempt = table_.attempt(),
          .checkpoint_wanted = table_.CheckpointWanted()};
}

absl::Status JobTable::Close() {
  absl::MutexLock lock(&mutex_);
  return Commit(table_.PlanClose());
}

void JobTable::Stop() {
  absl::MutexLock lock(&mutex_);
  stopped_ = true;
}

}  // namespace dtrpo::replay

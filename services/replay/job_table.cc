#include "services/replay/job_table.h"

#include <algorithm>
#include <iterator>
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
#include "services/replay/table_metrics.h"

namespace dtrpo::replay {
namespace {

constexpr absl::Duration kReplyMargin = absl::Milliseconds(100);
constexpr absl::Duration kCancellationCheck = absl::Seconds(1);
constexpr absl::Duration kShutdownRetryAfter = absl::Seconds(1);
constexpr absl::Duration kSlowRetryAfter = absl::Seconds(1);

absl::Status CheckRank(const BatchRequest& request) {
  if (request.world < 1) {
    return absl::InvalidArgumentError(absl::StrCat("world: ", request.world, " < 1"));
  }
  if (request.rank < 0 || request.rank >= request.world) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank: ", request.rank, " is outside [0, ", request.world, ")"));
  }
  return absl::OkStatus();
}

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

}  // namespace

// ---------------------------------------------------------------- log, apply, confirm

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
      DTRPO_CHECK_EQ(stored->elsewhere.shard == 0 ? stored->items.size() : 0, pairs.size());
      for (size_t i = 0; i < pairs.size(); ++i) {
        operations.bodies.emplace_back(stored->first_item + static_cast<ItemId>(i),
                                       std::move(pairs[i].body));
      }
    } else if (const auto* deleted = std::get_if<ItemsDeleted>(&record)) {
      AddRanges(deleted->items, &operations.deleted_bodies);
    } else if (std::holds_alternative<JobClosed>(record) ||
               std::holds_alternative<StartedOver>(record)) {
      operations.deleted_bodies = {{.first = 0, .end = table_.next_item()}};
    }
  }
  DTRPO_FAULT_POINT("replay.before_log");
  const absl::StatusOr<storage::Written> written =
      base::Annotate(engine_->Write(job_id_, std::move(operations)), "the log of job ", job_id_);
  if (!written.ok()) return StoreFailure(written.status());
  // From here on nothing may fail: what is logged has happened.
  base::HitFaultPoint("replay.after_log").IgnoreError();
  const Shown before(table_);
  for (const LogRecord& record : records) table_.Apply(record);
  logged_position_ = written->position;
  written_ = written->sequence;
  ++commits_;
  const Shown after(table_);
  MoveGauges(before, after, *metrics_);
  const bool over = table_.closed() || std::holds_alternative<StartedOver>(records.front());
  if (!over) RaiseCounters(before.counters, after.counters, *metrics_);
  if (table_.closed()) metrics_.reset();
  WriteSnapshotWhenDue();
  return absl::OkStatus();
}

absl::Status JobTable::StoreFailure(const absl::Status& status) const {
  // Refused before anything was stored: the next call may do better. Not so of a store that failed,
  // for want of space perhaps.
  const bool refused = base::GetReason(status) != storage::kStoreFailed &&
                       (absl::IsInvalidArgument(status) || absl::IsResourceExhausted(status) ||
                        absl::IsDeadlineExceeded(status));
  if (!refused && deps_.on_store_failed) deps_.on_store_failed(status);
  return status;
}

absl::StatusOr<storage::Durability> JobTable::Confirm(storage::Sequence sequence) const {
  DTRPO_FAULT_POINT("replay.before_confirm");
  const absl::Time started = deps_.clock->Now();
  absl::StatusOr<storage::Durability> reached =
      engine_->Confirm(sequence, level_, storage::StorageEngine::kConfirmTimeout);
  deps_.metrics->confirm_seconds->Observe(absl::ToDoubleSeconds(deps_.clock->Now() - started));
  if (absl::IsDeadlineExceeded(reached.status())) {
    // It may still get there; a repeated call finds out.
    absl::Status status = absl::UnavailableError(
        absl::StrCat("job ", job_id_, ": the store is slow: ", reached.status().message()));
    base::SetReason(status, kStoreSlow);
    base::SetRetryAfter(status, kSlowRetryAfter);
    return status;
  }
  if (!reached.ok()) return StoreFailure(reached.status());
  base::HitFaultPoint("replay.after_confirm").IgnoreError();
  return reached;
}

void JobTable::WriteSnapshotWhenDue() {
  const bool due = logged_position_ - snapshot_position_ >= deps_.records_per_snapshot;
  if (!due && !table_.closed()) return;
  base::HitFaultPoint("replay.before_snapshot").IgnoreError();
  absl::Status written = engine_->WriteSnapshot(
      job_id_, {.position = logged_position_, .state = EncodeSnapshot(table_.ToSnapshot())});
  base::HitFaultPoint("replay.after_snapshot").IgnoreError();
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
  const std::vector<NewItem> items = NewItems(pairs);
  return InsertItems(prompt, items, {}, /*incarnation=*/0, std::move(pairs));
}

absl::StatusOr<InsertOutcome> JobTable::InsertItems(const PromptKey& prompt,
                                                    const std::vector<NewItem>& items,
                                                    const Elsewhere& elsewhere, int64_t incarnation,
                                                    std::vector<StoredPair> pairs) {
  InsertOutcome outcome;
  storage::Sequence sequence = 0;
  DTRPO_ASSIGN_OR_RETURN(outcome.duplicate, TakeItems(prompt, items, elsewhere, incarnation,
                                                      std::move(pairs), &sequence));
  DTRPO_ASSIGN_OR_RETURN(outcome.durability, Confirm(sequence));
  return outcome;
}

std::vector<absl::StatusOr<InsertOutcome>> JobTable::InsertMany(std::vector<PromptItems> prompts) {
  std::vector<absl::StatusOr<InsertOutcome>> outcomes;
  storage::Sequence sequence = 0;  // of the last one that was taken
  for (PromptItems& prompt : prompts) {
    const std::vector<NewItem> items = NewItems(prompt.pairs);
    const absl::StatusOr<bool> duplicate =
        TakeItems(prompt.prompt, items, {}, /*incarnation=*/0, std::move(prompt.pairs), &sequence);
    if (duplicate.ok()) {
      outcomes.push_back(InsertOutcome{.duplicate = *duplicate});
    } else {
      outcomes.push_back(duplicate.status());
    }
  }
  if (sequence == 0) return outcomes;
  const absl::StatusOr<storage::Durability> reached = Confirm(sequence);
  for (absl::StatusOr<InsertOutcome>& outcome : outcomes) {
    if (!outcome.ok()) continue;
    if (reached.ok()) {
      outcome->durability = *reached;
    } else {
      outcome = reached.status();
    }
  }
  return outcomes;
}

absl::StatusOr<bool> JobTable::TakeItems(const PromptKey& prompt, const std::vector<NewItem>& items,
                                         const Elsewhere& elsewhere, int64_t incarnation,
                                         std::vector<StoredPair> pairs,
                                         storage::Sequence* sequence) {
  absl::MutexLock lock(&mutex_);
  DTRPO_RETURN_IF_ERROR(CheckOpen());
  if (elsewhere.shard > 0) DTRPO_RETURN_IF_ERROR(CheckIncarnation(incarnation));
  absl::StatusOr<LogRecords> records = table_.PlanInsert(prompt, items, elsewhere);
  if (absl::IsResourceExhausted(records.status())) metrics_->refused_inserts->Increment();
  DTRPO_RETURN_IF_ERROR(records.status());
  const bool duplicate = records->empty();
  if (duplicate) {
    ++duplicate_inserts_;
    metrics_->duplicate_inserts->Increment();
  }
  DTRPO_RETURN_IF_ERROR(Commit(*records, std::move(pairs)));
  *sequence = written_;
  return duplicate;
}

absl::Status JobTable::FormUpTo(int64_t batch) {
  while (table_.formed_batch() < batch) {
    DTRPO_ASSIGN_OR_RETURN(const LogRecords records, table_.PlanNextBatch());
    DTRPO_RETURN_IF_ERROR(Commit(records));
    const int64_t formed = table_.formed_batch();
    metrics_->formed_batches->Increment();
    metrics_->sampled_pairs->Increment(static_cast<double>(table_.batch(formed).entries.size()));
    for (const BatchEntry& entry : table_.batch(formed).entries) {
      metrics_->pair_lag_versions->Observe(static_cast<double>(table_.LagVersions(formed, entry)));
    }
  }
  return absl::OkStatus();
}

JobTable::SlicePlan JobTable::PlanSlice(const BatchRequest& request) const {
  const Batch& batch = table_.batch(request.batch);
  const Slice slice = RankSlice(std::ssize(batch.entries), request.rank, request.world);
  SlicePlan plan = {.batch = {.number = batch.number,
                              .policy_version = table_.PolicyVersion(batch.number),
                              .global_pairs = std::ssize(batch.entries),
                              .last = batch.last,
                              .entries = {},
                              .incarnation = table_.options().incarnation},
                    .bodies = {},
                    .sequence = written_};
  for (int64_t i = slice.begin; i < slice.end; ++i) {
    const BatchEntry& entry = batch.entries[i];
    const Item& item = *table_.FindItem(entry.item);
    if (item.shard == 0) plan.bodies.push_back(item.id);
    plan.batch.entries.push_back({.body = {},
                                  .use_index = entry.use_index,
                                  .lag_versions = table_.LagVersions(batch.number, entry),
                                  .elsewhere = {.shard = item.shard, .first_body = item.body}});
  }
  return plan;
}

absl::StatusOr<JobTable::SlicePlan> JobTable::AwaitSlice(const BatchRequest& request,
                                                         absl::Time give_up,
                                                         const std::function<bool()>& cancelled) {
  const absl::Time start = deps_.clock->Now();
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
      metrics_->batch_wait_seconds->Observe(absl::ToDoubleSeconds(now - start));
      return PlanSlice(request);
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

absl::StatusOr<RankBatch> JobTable::GetBatch(const BatchRequest& request, absl::Time deadline,
                                             const std::function<bool()>& cancelled) {
  DTRPO_RETURN_IF_ERROR(CheckRank(request));
  const absl::Time now = deps_.clock->Now();
  const absl::Time give_up = deadline - std::min(kReplyMargin, (deadline - now) / 10);
  DTRPO_ASSIGN_OR_RETURN(SlicePlan plan, AwaitSlice(request, give_up, cancelled));
  DTRPO_RETURN_IF_ERROR(Confirm(plan.sequence).status());
  absl::StatusOr<std::vector<std::string>> bodies =
      base::Annotate(engine_->ReadBodies(job_id_, plan.bodies), "batch ", request.batch);
  if (!bodies.ok()) {
    // Were they deleted meanwhile, by an acknowledgement or with the job? Then that is the answer.
    absl::MutexLock lock(&mutex_);
    DTRPO_RETURN_IF_ERROR(CheckOpen());
    DTRPO_RETURN_IF_ERROR(table_.CheckBatchNumber(request.batch));
    return bodies.status();
  }
  auto body = bodies->begin();
  for (RankBatch::Entry& entry : plan.batch.entries) {
    if (entry.elsewhere.shard == 0) entry.body = std::move(*body++);
  }
  return std::move(plan.batch);
}

absl::Status JobTable::Acknowledge(int32_t attempt, int64_t up_to_batch) {
  storage::Sequence sequence = 0;
  {
    absl::MutexLock lock(&mutex_);
    DTRPO_RETURN_IF_ERROR(CheckOpen());
    DTRPO_ASSIGN_OR_RETURN(LogRecords granted, table_.PlanAttempt(attempt));
    DTRPO_RETURN_IF_ERROR(Commit(granted));
    DTRPO_ASSIGN_OR_RETURN(LogRecords records, table_.PlanAcknowledge(up_to_batch));
    DTRPO_RETURN_IF_ERROR(Commit(records));
    sequence = written_;
  }
  return Confirm(sequence).status();
}

absl::StatusOr<bool> JobTable::UpdatePriorities(const BatchRequest& request,
                                                const std::vector<double>& priorities) {
  DTRPO_RETURN_IF_ERROR(CheckRank(request));
  storage::Sequence sequence = 0;
  bool taken = false;
  {
    absl::MutexLock lock(&mutex_);
    DTRPO_RETURN_IF_ERROR(CheckOpen());
    DTRPO_ASSIGN_OR_RETURN(LogRecords granted, table_.PlanAttempt(request.attempt));
    DTRPO_RETURN_IF_ERROR(Commit(granted));
    DTRPO_ASSIGN_OR_RETURN(LogRecords records, table_.PlanPriorities(request.batch, request.rank,
                                                                     request.world, priorities));
    taken = !records.empty();
    DTRPO_RETURN_IF_ERROR(Commit(records));
    sequence = written_;
  }
  DTRPO_RETURN_IF_ERROR(Confirm(sequence).status());
  return taken;
}

absl::Status JobTable::EndKinds(bool external, bool prompts) {
  storage::Sequence sequence = 0;
  {
    absl::MutexLock lock(&mutex_);
    DTRPO_RETURN_IF_ERROR(CheckOpen());
    DTRPO_RETURN_IF_ERROR(Commit(table_.PlanKindEnds(external, prompts)));
    sequence = written_;
  }
  return Confirm(sequence).status();
}

absl::Status JobTable::SetMarks(int64_t newest_version, bool end_of_data,
                                int64_t forget_epochs_below) {
  storage::Sequence sequence = 0;
  {
    absl::MutexLock lock(&mutex_);
    DTRPO_RETURN_IF_ERROR(CheckOpen());
    DTRPO_RETURN_IF_ERROR(
        Commit(table_.PlanMarks(newest_version, end_of_data, forget_epochs_below)));
    sequence = written_;
  }
  return Confirm(sequence).status();
}

absl::StatusOr<EventPage> JobTable::PollEvents(int64_t after_position, int64_t max_events,
                                               int64_t acknowledged_position) {
  EventPage page;
  storage::Sequence sequence = 0;
  {
    absl::MutexLock lock(&mutex_);
    DTRPO_RETURN_IF_ERROR(CheckOpen());
    DTRPO_RETURN_IF_ERROR(Commit(table_.PlanDropEvents(acknowledged_position)));
    page.events = table_.ledger().EventsAfter(after_position, max_events);
    page.last_position = table_.ledger().last_position();
    sequence = written_;
  }
  DTRPO_RETURN_IF_ERROR(Confirm(sequence).status());
  return page;
}

absl::Status JobTable::Close() {
  storage::Sequence sequence = 0;
  {
    absl::MutexLock lock(&mutex_);
    DTRPO_RETURN_IF_ERROR(Commit(table_.PlanClose()));
    sequence = written_;
  }
  return Confirm(sequence).status();
}

void JobTable::Stop() {
  absl::MutexLock lock(&mutex_);
  stopped_ = true;
}

}  // namespace dtrpo::replay

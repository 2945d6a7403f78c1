// The decisions of ReplayTable: what may happen next, and why not. Nothing here changes anything.
#include <algorithm>
#include <iterator>
#include <map>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"
#include "common/job/job_limits.h"
#include "services/replay/batch_slice.h"
#include "services/replay/prioritised_selector.h"
#include "services/replay/replay_table.h"

namespace dtrpo::replay {
namespace {

constexpr int32_t kMaxAttempt = 1 << 20;
constexpr absl::Duration kFullRetryAfter = absl::Milliseconds(500);
constexpr absl::Duration kExternalRetryAfter = absl::Milliseconds(50);
constexpr absl::Duration kBatchRetryAfter = absl::Milliseconds(100);

absl::Status WithReason(absl::Status status, absl::string_view reason) {
  base::SetReason(status, reason);
  return status;
}

absl::Status CheckKey(const PromptKey& key) {
  if (key.epoch < 0) return absl::InvalidArgumentError(absl::StrCat("epoch: ", key.epoch, " < 0"));
  if (key.prompt_index < 0) {
    return absl::InvalidArgumentError(absl::StrCat("prompt_index: ", key.prompt_index, " < 0"));
  }
  if (key.attempt < 0 || key.attempt > kMaxAttempt) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt_attempt: ", key.attempt, " is outside [0, ", kMaxAttempt, "]"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<bool> ReplayTable::CheckNew(const PromptKey& prompt, int64_t count) const {
  DTRPO_RETURN_IF_ERROR(CheckKey(prompt));
  if (count > options_.max_pairs_per_prompt) {
    return absl::InvalidArgumentError(absl::StrCat("pairs: ", count, " of one prompt, the job's ",
                                                   "limit is ", options_.max_pairs_per_prompt));
  }
  switch (ledger_.Judge(prompt)) {
    case PromptLedger::Verdict::kNew:
      return true;
    case PromptLedger::Verdict::kDuplicate:
      return false;
    case PromptLedger::Verdict::kNotEvicted:
      break;
  }
  return WithReason(absl::FailedPreconditionError(absl::StrCat(
                        "prompt_attempt: ", prompt.attempt, " of prompt ", prompt.epoch, "/",
                        prompt.prompt_index, ": the attempt before wasn't evicted")),
                    kPromptNotEvicted);
}

absl::StatusOr<LogRecords> ReplayTable::PlanInsert(const PromptKey& prompt,
                                                   const std::vector<NewItem>& items,
                                                   const Elsewhere& elsewhere) const {
  const int64_t count = static_cast<int64_t>(items.size());
  DTRPO_ASSIGN_OR_RETURN(const bool is_new, CheckNew(prompt, count));
  if (!is_new) return LogRecords();
  if (items.empty() && elsewhere.shard > 0) {
    return WithReason(absl::FailedPreconditionError(absl::StrCat(
                          "prompt ", prompt.epoch, "/", prompt.prompt_index, ": shard ",
                          elsewhere.shard, " says that it has ended, and it hasn't")),
                      kPromptNotEvicted);
  }
  if (end_of_data_) {
    return WithReason(absl::FailedPreconditionError("the job's data has ended"), kEndOfData);
  }
  if (items.empty()) return LogRecords{PromptWithoutPair{prompt}};

  int64_t size_bytes = 0;
  ItemsWithdrawn stale;
  for (int64_t i = 0; i < count; ++i) {
    size_bytes += items[i].size_bytes;
    if (!FitsBatch(items[i].version, formed_batch_ + 1)) stale.items.push_back(next_item_ + i);
  }
  DTRPO_RETURN_IF_ERROR(CheckRoom(count, size_bytes, /*external=*/items.front().version < 0));

  PromptStored stored = {prompt, next_item_, items, elsewhere};
  if (options_.priority == PrioritySource::kLearner) {
    // As if it were the most interesting one, so that the learner soon says what it is.
    for (NewItem& item : stored.items) item.priority = highest_priority_;
  }
  LogRecords records = {std::move(stored)};
  if (!stale.items.empty()) {
    records.push_back(stale);
    records.push_back(ItemsDeleted{stale.items});
  }
  return records;
}

// Neither kind may take the room that the other one needs: imported items are always at hand, and
// are let in for the next few batches only.
absl::Status ReplayTable::CheckRoomOfKind(bool external) const {
  const int64_t batch = options_.pairs_per_batch;
  const int64_t external_part = options_.external_pairs_per_batch;
  if (external_part == 0) return absl::OkStatus();
  const bool mixed = external_part < batch;
  if (!mixed && !external) return absl::OkStatus();
  const bool other_ended = external ? prompts_ended_ : external_ended_;
  const int64_t part = other_ended || !mixed ? batch
                       : external            ? external_part
                                             : batch - external_part;
  const int64_t imported = mixed ? selector_->external_items() : available_items();
  const int64_t stored = external ? imported : available_items() - imported;
  const int64_t remaining = options_.total_steps - formed_batch_;
  const int64_t batches =
      external ? std::min<int64_t>(remaining, job::kExternalBatchesAhead) : remaining;
  if (stored < part * batches) return absl::OkStatus();
  return base::BackPressureError(
      absl::StrCat(stored, external ? " imported pairs" : " pairs of prompts",
                   " are stored for the next batches, which take ", part, " each"),
      kReplayFull, external ? kExternalRetryAfter : kFullRetryAfter);
}

absl::Status ReplayTable::CheckRoom(int64_t items, int64_t bytes, bool external) const {
  if (bytes > options_.max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "pairs: ", bytes, " bytes of one prompt, the job's max_bytes is ", options_.max_bytes));
  }
  DTRPO_RETURN_IF_ERROR(CheckRoomOfKind(external));
  // Items beyond what the remaining batches take would never be used. Counted without reuse: many
  // uses of few items don't fill a batch, which takes an item once. Of two kinds, each was counted
  // on its own: both are needed, however much there is of one.
  const bool mixed = options_.external_pairs_per_batch > 0 &&
                     options_.external_pairs_per_batch < options_.pairs_per_batch;
  if (!mixed &&
      available_items() / options_.pairs_per_batch >= options_.total_steps - formed_batch_) {
    return base::BackPressureError(
        absl::StrCat(available_items(), " pairs are stored for the ",
                     options_.total_steps - formed_batch_, " batches to come"),
        kReplayFull, kFullRetryAfter);
  }
  const bool full = this->items() + items > options_.max_items;
  if (!full && bytes_ + bytes <= options_.max_bytes) return absl::OkStatus();
  if (!full && batches_.empty() && available_items() < wanted_items()) {
    // Nothing will ever leave: no batch to acknowledge, and none can be formed.
    return WithReason(absl::FailedPreconditionError(absl::StrCat(
                          "max_bytes: ", options_.max_bytes, " can't hold one batch: ",
                          available_items(), " of the ", wanted_items(), " pairs it wants take ",
                          bytes_, " bytes, the next ", items, " would add ", bytes)),
                      kMaxBytesTooSmall);
  }
  return base::BackPressureError(
      absl::StrCat(this->items(), " of ", options_.max_items, " pairs and ", bytes_, " of ",
                   options_.max_bytes, " bytes are stored, ", assigned_items_,
                   " pairs in unacknowledged batches"),
      kReplayFull, kFullRetryAfter);
}

absl::StatusOr<LogRecords> ReplayTable::PlanAttempt(int32_t attempt) const {
  if (attempt < attempt_) {
    return WithReason(absl::FailedPreconditionError(
                          absl::StrCat("attempt ", attempt, " was replaced by attempt ", attempt_)),
                      kStaleAttempt);
  }
  if (attempt == attempt_) return LogRecords();
  return LogRecords{AttemptGranted{attempt}};
}

absl::Status ReplayTable::CheckBatchNumber(int64_t n) const {
  if (n < 1) return absl::InvalidArgumentError(absl::StrCat("batch: ", n, " < 1"));
  if (n <= acknowledged_batch_) {
    return WithReason(absl::FailedPreconditionError(
                          absl::StrCat("batch ", n, ": acknowledged up to ", acknowledged_batch_)),
                      kBatchAcknowledged);
  }
  if (n <= formed_batch_) return absl::OkStatus();
  if (last_formed_) {
    return WithReason(absl::OutOfRangeError(
                          absl::StrCat("batch ", n, ": batch ", formed_batch_, " ended the data")),
                      kEndOfData);
  }
  if (n > options_.total_steps) {
    return WithReason(absl::OutOfRangeError(absl::StrCat("batch ", n, ": the job ends with batch ",
                                                         options_.total_steps)),
                      kEndOfJob);
  }
  const int64_t limit = acknowledged_batch_ + options_.checkpoint_every + options_.prefetch_batches;
  if (n > limit) {
    return base::BackPressureError(
        absl::StrCat("batch ", n, ": only batches up to ", limit, " may be formed while ",
                     acknowledged_batch_, " is the newest acknowledged"),
        kUnacknowledgedLimit, kBatchRetryAfter);
  }
  return absl::OkStatus();
}

absl::StatusOr<LogRecords> ReplayTable::PlanNextBatch() const {
  const int64_t n = formed_batch_ + 1;
  DTRPO_RETURN_IF_ERROR(CheckBatchNumber(n));
  const int64_t available = available_items();
  const bool whole = selector_->Ready(options_.pairs_per_batch) >= options_.pairs_per_batch;
  if ((available < wanted_items() || !whole) && !end_of_data_) {
    const bool stuck = CheckpointWanted();
    absl::Status status =
        WithReason(absl::UnavailableError(absl::StrCat(
                       "batch ", n, ": ", available, " of ", wanted_items(), " pairs are there",
                       available < wanted_items() ? "" : ", but too few of one kind",
                       stuck ? ", and no room for more until batches are acknowledged" : "")),
                   stuck ? kCheckpointWanted : kNotEnoughItems);
    base::SetRetryAfter(status, kBatchRetryAfter);
    return status;
  }
  if (available == 0) {
    return WithReason(absl::OutOfRangeError(absl::StrCat("batch ", n, ": the data ended before")),
                      kEndOfData);
  }

  BatchFormed formed = {.batch = n, .items = selector_->Select(n, options_.pairs_per_batch)};
  const std::unordered_set<ItemId> chosen(formed.items.begin(), formed.items.end());
  // Those that would be available after it, and those of them that fit no batch after it.
  int64_t staying = available;
  ItemsWithdrawn withdrawn;
  ItemsDeleted deleted;
  auto withdraw = [&](ItemId id) {
    withdrawn.items.push_back(id);
    if (!chosen.contains(id) && item(id).unacknowledged == 0) deleted.items.push_back(id);
  };
  auto used_up = [&](ItemId id) {
    return chosen.contains(id) && item(id).uses + 1 == limiter_.UsesOf(id);
  };
  for (ItemId id : formed.items) staying -= used_up(id);
  for (const auto& [version, id] : available_by_version_) {
    if (FitsBatch(version, n + 1)) break;  // the others are newer
    if (!used_up(id)) withdraw(id);
  }
  staying -= static_cast<int64_t>(withdrawn.items.size());
  // A short batch always ends the data, even if its items might be used again: a learner sees one
  // short batch, and knows that it is the end.
  formed.last = end_of_data_ && (!whole || staying == 0);
  if (formed.last && staying > 0) {
    const std::unordered_set<ItemId> stale(withdrawn.items.begin(), withdrawn.items.end());
    for (ItemId id : selector_->Items()) {
      if (!used_up(id) && !stale.contains(id)) withdraw(id);
    }
  }

  LogRecords records = {std::move(formed)};
  if (!withdrawn.items.empty()) records.push_back(std::move(withdrawn));
  if (!deleted.items.empty()) records.push_back(std::move(deleted));
  return records;
}

absl::StatusOr<LogRecords> ReplayTable::PlanAcknowledge(int64_t up_to_batch) const {
  if (up_to_batch > formed_batch_) {
    return absl::InvalidArgumentError(absl::StrCat(
        "up_to_batch: ", up_to_batch, " was never formed; the newest is ", formed_batch_));
  }
  if (up_to_batch <= acknowledged_batch_) return LogRecords();

  std::map<ItemId, int32_t> acknowledged;  // item -> its batches among them
  for (auto it = batches_.begin(); it != batches_.end() && it->first <= up_to_batch; ++it) {
    for (const BatchEntry& entry : it->second.entries) ++acknowledged[entry.item];
  }
  ItemsDeleted deleted;
  for (const auto& [id, batches] : acknowledged) {
    if (batches == item(id).unacknowledged && !selector_->Holds(id)) deleted.items.push_back(id);
  }
  LogRecords records = {BatchesAcknowledged{up_to_batch}};
  if (!deleted.items.empty()) records.push_back(std::move(deleted));
  return records;
}

absl::StatusOr<LogRecords> ReplayTable::PlanPriorities(
    int64_t n, int64_t rank, int64_t world, const std::vector<double>& priorities) const {
  for (size_t i = 0; i < priorities.size(); ++i) {
    if (!(priorities[i] >= 0 && priorities[i] <= kMaxPriority)) {  // NaN too
      return absl::InvalidArgumentError(absl::StrCat("priorities[", i, "]: ", priorities[i],
                                                     " is outside [0, ", kMaxPriority, "]"));
    }
  }
  if (n < 1 || n > formed_batch_) {
    return absl::InvalidArgumentError(
        absl::StrCat("batch: ", n, " was never formed; the newest is ", formed_batch_));
  }
  if (n <= acknowledged_batch_) return LogRecords();
  const std::vector<BatchEntry>& entries = batch(n).entries;
  const Slice slice = RankSlice(std::ssize(entries), rank, world);
  if (std::ssize(priorities) != slice.end - slice.begin) {
    return absl::InvalidArgumentError(absl::StrCat("priorities: ", priorities.size(), " for the ",
                                                   slice.end - slice.begin, " items of rank ", rank,
                                                   " of ", world, " in batch ", n));
  }
  const bool news = std::any_of(entries.begin() + slice.begin, entries.begin() + slice.end,
                                [](const BatchEntry& entry) { return !entry.priority_updated; });
  if (!news) return LogRecords();
  return LogRecords{PrioritiesUpdated{n, slice.begin, priorities}};
}

LogRecords ReplayTable::PlanMarks(int64_t newest_version, bool end_of_data,
                                  int64_t forget_epochs_below) const {
  LogRecords records;
  if (newest_version > newest_version_) records.push_back(VersionPublished{newest_version});
  if (end_of_data && !end_of_data_) records.push_back(DataEnded{});
  if (forget_epochs_below > ledger_.forgotten_below_epoch()) {
    for (LogRecord& record : PlanForget(forget_epochs_below)) records.push_back(std::move(record));
    records.push_back(EpochsForgotten{forget_epochs_below});
  }
  return records;
}

LogRecords ReplayTable::PlanKindEnds(bool external, bool prompts) const {
  LogRecords records;
  if (external && !external_ended_) records.push_back(KindEnded{true});
  if (prompts && !prompts_ended_) records.push_back(KindEnded{false});
  return records;
}

LogRecords ReplayTable::PlanDropEvents(int64_t up_to_position) const {
  up_to_position = std::min(up_to_position, ledger_.last_position());
  if (up_to_position <= ledger_.dropped_position()) return {};
  return {EventsDropped{up_to_position}};
}

LogRecords ReplayTable::PlanClose() const {
  if (closed_) return {};
  return {JobClosed{}};
}

}  // namespace dtrpo::replay

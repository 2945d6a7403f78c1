// One job's pairs and numbered batches: a deterministic state machine without clock, lock or disk.
// Not thread-safe; JobTable is the shell with the lock and the log.
//
//   Plan...() const  ->  LogRecords  ->  (logged by the caller)  ->  Apply() of each
//
// Plan decides and changes nothing: an error means refused, no records mean that nothing changes.
// Apply never fails on records that Plan made in this state; a table is its log, replayed. Bodies
// aren't here: the caller stores body `first_item + i` with PromptStored and deletes the bodies
// that ItemsDeleted names, in the same atomic step as the record.
//
// Promises (tests/unit/replay; n counts batches, B the pairs of one, S the staleness bound):
//  1. Batch n is formed once, in order of n, and is the same items in the same order until it is
//     acknowledged, whoever asks, also after a restart.
//  2. An item in batch n has V(n) - version <= S, with V(n) = floor((n-1) / publish_every).
//  3. An item is at most once in a batch and in at most max_uses batches.
//  4. A prompt is stored at most once per attempt, with all its pairs in one step; the attempt
//     rises only after its items were evicted (prompt_ledger.h).
//  5. An item that fits no future batch leaves at once: V(next n) - version > S. The next batch
//     *not yet formed* is what counts; the newest published version can't be ahead of it.
//  6. A full table refuses inserts and never drops an item.
//  7. Draws stay at or below samples_per_insert * inserted items (sample_limiter.h).
//  8. The learner's priorities for an item of batch n are taken once.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/replay/log_record.h"
#include "services/replay/prompt_ledger.h"
#include "services/replay/sample_limiter.h"
#include "services/replay/selector.h"
#include "services/replay/table_options.h"
#include "services/replay/table_snapshot.h"

namespace dtrpo::replay {

// What a refusal carries as its reason (common/base/retry_after.h).
inline constexpr char kReplayFull[] = "replay_full";                    // RESOURCE_EXHAUSTED
inline constexpr char kUnacknowledgedLimit[] = "unacknowledged_limit";  // RESOURCE_EXHAUSTED
inline constexpr char kNotEnoughItems[] = "not_enough_items";           // UNAVAILABLE
inline constexpr char kCheckpointWanted[] = "checkpoint_wanted";        // UNAVAILABLE
inline constexpr char kStaleAttempt[] = "stale_attempt";                // FAILED_PRECONDITION
inline constexpr char kPromptNotEvicted[] = "prompt_not_evicted";       // FAILED_PRECONDITION
inline constexpr char kBatchAcknowledged[] = "batch_acknowledged";      // FAILED_PRECONDITION
inline constexpr char kMaxBytesTooSmall[] = "max_bytes_too_small";      // FAILED_PRECONDITION
inline constexpr char kEndOfData[] = "end_of_data";  // OUT_OF_RANGE; of inserts FAILED_PRECONDITION
inline constexpr char kEndOfJob[] = "end_of_job";    // OUT_OF_RANGE

class ReplayTable {
 public:
  // REQUIRES: options that Complete() returned.
  explicit ReplayTable(const TableOptions& options);
  explicit ReplayTable(const TableSnapshot& snapshot);
  ReplayTable(ReplayTable&&) = default;
  ReplayTable& operator=(ReplayTable&&) = default;

  // ---- decisions

  // One prompt's outcome: all its pairs, or none ("no pair"). No records: a duplicate.
  absl::StatusOr<LogRecords> PlanInsert(const PromptKey& prompt, const std::vector<NewItem>& items,
                                        const Elsewhere& elsewhere = {}) const;

  // A learner of `attempt` speaks: fenced off if a higher one has spoken.
  absl::StatusOr<LogRecords> PlanAttempt(int32_t attempt) const;

  // May batch n be asked for at all (formed or not)? No for those acknowledged, too far ahead, or
  // beyond the end of the job.
  absl::Status CheckBatchNumber(int64_t n) const;
  // Forms batch formed_batch() + 1.
  absl::StatusOr<LogRecords> PlanNextBatch() const;
  absl::StatusOr<LogRecords> PlanAcknowledge(int64_t up_to_batch) const;
  // The learner's priorities for the slice of batch n that rank `rank` of `world` has. No records:
  // they were taken before, or the batch is acknowledged and its items have served.
  absl::StatusOr<LogRecords> PlanPriorities(int64_t n, int64_t rank, int64_t world,
                                            const std::vector<double>& priorities) const;

  // The coordinator's marks; each only ever rises, so a late or repeated call changes nothing.
  LogRecords PlanMarks(int64_t newest_version, bool end_of_data, int64_t forget_epochs_below) const;
  // Of a job with both kinds of items: no more of one of them will come.
  LogRecords PlanKindEnds(bool external, bool prompts) const;
  LogRecords PlanDropEvents(int64_t up_to_position) const;
  LogRecords PlanClose() const;

  // ---- decisions of a shard that keeps bodies and doesn't sequence (replay_table_shards.cc). Its
  // ledger repeats what the one that sequences decided.

  // No records: it was staged before (StagedItems), or has ended.
  absl::StatusOr<LogRecords> PlanStage(const PromptKey& prompt,
                                       const std::vector<NewItem>& items) const;
  // What is kept of the prompt's attempt; none when it isn't known or has ended.
  std::vector<Item> StagedItems(const PromptKey& prompt) const;
  LogRecords PlanSettle(const std::vector<PromptEvent>& events) const;
  // What was staged in older epochs and never inserted.
  LogRecords PlanForget(int64_t epochs_below) const;
  LogRecords PlanStartOver(const TableOptions& options) const { return {StartedOver{options}}; }

  // ---- the one way to change

  void Apply(const LogRecord& record);

  // ---- state

  const TableOptions& options() const { return options_; }
  const TableCounters& counters() const { return counters_; }
  const PromptLedger& ledger() const { return ledger_; }
  // REQUIRES: acknowledged_batch() < n <= formed_batch().
  const Batch& batch(int64_t n) const;
  int64_t PolicyVersion(int64_t n) const;  // V(n)
  // V(n) - version, 0 for external items and for newer ones. REQUIRES: as batch().
  int64_t LagVersions(int64_t n, const BatchEntry& entry) const;

  int64_t formed_batch() const { return formed_batch_; }
  int64_t acknowledged_batch() const { return acknowledged_batch_; }
  int64_t newest_version() const { return newest_version_; }
  int32_t attempt() const { return attempt_; }
  bool closed() const { return closed_; }
  int64_t items() const { return static_cast<int64_t>(items_.size()); }
  int64_t bytes() const { return bytes_; }
  int64_t available_items() const { return selector_->size(); }  // fit the next batch
  int64_t assigned_items() const { return assigned_items_; }     // in an unacknowledged batch
  ItemId next_item() const { return next_item_; }

  // Items that must fit the next batch for it to be formed whole. After the last prompt only
  // imported items come, for a few batches at a time: no more than a batch is waited for.
  int64_t wanted_items() const {
    return prompts_ended_ ? options_.pairs_per_batch : limiter_.WantedItems(formed_batch_ + 1);
  }
  // The next batch lacks items and there is no room for more until batches are acknowledged.
  bool CheckpointWanted() const;
  bool Available(ItemId id) const { return selector_->Holds(id); }  // fits the next batch
  // nullptr: there is none.
  const Item* FindItem(ItemId id) const;
  // At most `limit` items after `after`, by id. O(items) for the table.
  std::vector<Item> ItemsAfter(ItemId after, int64_t limit) const;

  TableSnapshot ToSnapshot() const;

 private:
  bool FitsBatch(int64_t version, int64_t n) const;
  // False: the key is a duplicate.
  absl::StatusOr<bool> CheckNew(const PromptKey& prompt, int64_t items) const;
  absl::Status CheckRoom(int64_t items, int64_t bytes, bool external) const;
  absl::Status CheckRoomOfKind(bool external) const;

  void On(const JobOpened& record);
  void On(const JobClosed& record);
  void On(const PromptStored& record);
  void On(const PromptWithoutPair& record);
  void On(const BatchFormed& record);
  void On(const ItemsWithdrawn& record);
  void On(const BatchesAcknowledged& record);
  void On(const ItemsDeleted& record);
  void On(const VersionPublished& record);
  void On(const DataEnded& record);
  void On(const KindEnded& record);
  void On(const AttemptGranted& record);
  void On(const EventsDropped& record);
  void On(const EpochsForgotten& record);
  void On(const PrioritiesUpdated& record);
  void On(const ItemsUsed& record);
  void On(const StartedOver& record);

  const Item& item(ItemId id) const;
  Item& item(ItemId id);
  void MakeAvailable(const Item& item);
  void MakeUnavailable(const Item& item);
  // Of a shard that doesn't sequence: the first item of each prompt that it keeps.
  void NoteStaged(const Item& item);

  TableOptions options_;
  SampleLimiter limiter_;
  TableCounters counters_;
  ItemId next_item_ = 1;
  int64_t largest_prompt_bytes_ = 0;
  double highest_priority_ = 1;
  int64_t formed_batch_ = 0;
  int64_t acknowledged_batch_ = 0;
  int64_t newest_version_ = 0;
  int32_t attempt_ = 0;
  bool end_of_data_ = false;
  bool external_ended_ = false;
  bool prompts_ended_ = false;
  bool last_formed_ = false;
  bool closed_ = false;
  std::unordered_map<ItemId, Item> items_;
  std::unique_ptr<Selector> selector_;  // the available ones
  std::map<int64_t, Batch> batches_;    // unacknowledged, by number
  PromptLedger ledger_;

  // Derived from the above.
  int64_t bytes_ = 0;
  int64_t assigned_items_ = 0;
  absl::btree_set<std::pair<int64_t, ItemId>> available_by_version_;  // without external ones
  std::map<std::pair<int64_t, int64_t>, ItemId> staged_;  // (epoch, prompt index): NoteStaged
};

}  // namespace dtrpo::replay

// One job's ReplayTable with what it needs to be shared: a lock, the log in front of it, and
// waiting for batches. Thread-safe.
//
//   caller -> JobTable --- decide ---> ReplayTable          under the lock
//                |  --- write ---> StorageEngine         (the log is named by the job id)
//                |  ^--- apply -----------^
//                +--- confirm --> StorageEngine          without it: callers share an fsync
//
// Nothing is answered before the engine has confirmed, at the table's durability, everything that
// the answer rests upon: also a duplicate insert waits for the insert that it repeats. A write that
// the engine refuses (a full disk) leaves the table as before. After any other error the engine
// takes nothing more, every call fails with what happened, and `on_store_failed` is told: only the
// log knows what is true then, so the process ends and starts again from it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/wait_states.h"
#include "common/storage/storage_engine.h"
#include "services/replay/replay_metrics.h"
#include "services/replay/replay_table.h"

namespace dtrpo::replay {

inline constexpr char kJobClosed[] = "job_closed";        // FAILED_PRECONDITION
inline constexpr char kShuttingDown[] = "shutting_down";  // UNAVAILABLE
inline constexpr char kStartedOver[] = "started_over";    // FAILED_PRECONDITION: stage again
inline constexpr char kItemGone[] = "item_gone";          // NOT_FOUND
inline constexpr char kStoreSlow[] = "store_slow";        // UNAVAILABLE: perhaps stored, ask again

// All outlive the table.
struct JobTableDeps {
  storage::StorageEngine* engine;
  ReplayMetrics* metrics;
  // Of tables with durability memory; null: `engine`.
  storage::StorageEngine* memory_engine = nullptr;
  base::WaitStateRegistry* waits = nullptr;  // null: waits aren't registered
  base::Clock* clock = base::RealClock();
  int64_t records_per_snapshot = 10000;  // of the log, before a snapshot replaces them
  std::function<void(const absl::Status&)> on_store_failed = nullptr;  // may be called often
};

// A pair and its bytes, which the table doesn't look into.
struct StoredPair {
  int64_t version = 0;  // -1: external
  std::string body;
  double priority = 0;
};

struct PromptItems {
  PromptKey prompt;
  std::vector<StoredPair> pairs;
};

struct InsertOutcome {
  bool duplicate = false;
  storage::Durability durability = storage::Durability::kMemory;
};

// What a shard keeps of a prompt, for the shard that sequences.
struct StagedPrompt {
  Elsewhere at;
  std::vector<NewItem> items;  // none: the prompt's attempt has ended
  int64_t incarnation = 0;
};

struct BatchRequest {
  int64_t batch = 0;
  int32_t attempt = 0;
  int32_t rank = 0;
  int32_t world = 1;
};

struct RankBatch {
  struct Entry {
    std::string body;
    int32_t use_index = 0;
    int64_t lag_versions = 0;
    Elsewhere elsewhere = {};  // of another shard: the body is there, and empty here
  };
  int64_t number = 0;
  int64_t policy_version = 0;
  int64_t global_pairs = 0;
  bool last = false;
  std::vector<Entry> entries;  // the rank's slice
  int64_t incarnation = 0;
};

struct EventPage {
  std::vector<PromptEvent> events;
  int64_t last_position = 0;  // of the log, not of the page
};

// What a table knows of an item, and the body.
struct ItemView {
  Item item;
  bool available = false;  // fits the next batch
  std::string body;
};

struct TableStats {
  TableOptions options;
  TableCounters counters;
  int64_t items = 0;
  int64_t bytes = 0;
  int64_t available_items = 0;
  int64_t assigned_items = 0;
  int64_t formed_batch = 0;
  int64_t acknowledged_batch = 0;
  int64_t newest_version = 0;
  int64_t duplicate_inserts = 0;  // since the process started
  int32_t attempt = 0;
  bool checkpoint_wanted = false;
  int64_t wanted_items = 0;
  bool closed = false;
  storage::Durability durability = storage::Durability::kMemory;  // that answers reach
};

class JobTable {
 public:
  // A new job. REQUIRES: options that Complete() returned; the job has no log.
  static absl::StatusOr<std::unique_ptr<JobTable>> Create(const std::string& job_id,
                                                          const TableOptions& options,
                                                          const JobTableDeps& deps);
  // From the job's log.
  static absl::StatusOr<std::unique_ptr<JobTable>> Restore(const std::string& job_id,
                                                           const JobTableDeps& deps);
  ~JobTable();

  // Errors are ReplayTable's (replay_table.h lists the reasons), "job_closed", and the engine's.
  absl::StatusOr<InsertOutcome> Insert(const PromptKey& prompt, std::vector<StoredPair> pairs);
  // Several of them with one wait: each is stored or refused on its own.
  std::vector<absl::StatusOr<InsertOutcome>> InsertMany(std::vector<PromptItems> prompts);
  // Of what another shard keeps. FAILED_PRECONDITION "started_over" when it is of another
  // incarnation.
  absl::StatusOr<InsertOutcome> InsertStaged(const PromptKey& prompt, const StagedPrompt& staged);
  // Waits for pairs until shortly before `deadline`, so that the answer still arrives, or until
  // `cancelled` (asked about once a second).
  absl::StatusOr<RankBatch> GetBatch(const BatchRequest& request, absl::Time deadline,
                                     const std::function<bool()>& cancelled);
  absl::Status Acknowledge(int32_t attempt, int64_t up_to_batch);
  // False: they were taken before, or serve no more.
  absl::StatusOr<bool> UpdatePriorities(const BatchRequest& request,
                                        const std::vector<double>& priorities);
  absl::Status SetMarks(int64_t newest_version, bool end_of_data, int64_t forget_epochs_below);
  // See PlanKindEnds.
  absl::Status EndKinds(bool external, bool prompts);
  absl::StatusOr<EventPage> PollEvents(int64_t after_position, int64_t max_events,
                                       int64_t acknowledged_position);
  TableStats Stats() const;
  TableOptions options() const;
  // At most `limit` items after `after`, by id, with their bodies. Fewer, or none, when some leave
  // meanwhile; `*end` says whether there were no more.
  absl::StatusOr<std::vector<ItemView>> ItemsAfter(ItemId after, int64_t limit, bool* end) const;
  // NOT_FOUND for an item that isn't there (any more).
  absl::StatusOr<ItemView> FindItem(ItemId id) const;
  // All of them; NOT_FOUND "item_gone" names the first that isn't there, or an `incarnation` (0:
  // any) that is over.
  absl::StatusOr<std::vector<ItemView>> FindItems(const std::vector<ItemId>& ids,
                                                  int64_t incarnation) const;

  // Of a shard that doesn't sequence (replay_table_shards.cc).
  absl::StatusOr<StagedPrompt> Stage(const PromptKey& prompt, std::vector<StoredPair> pairs);
  absl::Status Settle(const std::vector<PromptEvent>& events);
  // As if closed and opened again. REQUIRES: options that Complete() returned, of the same
  // durability.
  absl::Status StartOver(const TableOptions& options);

  // FAILED_PRECONDITION "job_closed" or UNAVAILABLE "shutting_down", as every operation answers.
  absl::Status CheckUsable() const;

  // Deletes everything but the fact that the job was closed.
  absl::Status Close();
  // Calls that wait, and later ones, answer UNAVAILABLE "shutting_down".
  void Stop();

 private:
  // A rank's part of a batch, without bodies, and the items to read them of.
  struct SlicePlan {
    RankBatch batch;
    std::vector<storage::BodyId> bodies;
    storage::Sequence sequence = 0;
  };

  JobTable(std::string job_id, const JobTableDeps& deps, ReplayTable table);

  absl::Status CheckOpen() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckIncarnation(int64_t incarnation) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static std::vector<NewItem> NewItems(const std::vector<StoredPair>& pairs);
  absl::StatusOr<InsertOutcome> InsertItems(const PromptKey& prompt,
                                            const std::vector<NewItem>& items,
                                            const Elsewhere& elsewhere, int64_t incarnation,
                                            std::vector<StoredPair> pairs)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // The part of it before the wait; true: a duplicate. `sequence` is what to confirm.
  absl::StatusOr<bool> TakeItems(const PromptKey& prompt, const std::vector<NewItem>& items,
                                 const Elsewhere& elsewhere, int64_t incarnation,
                                 std::vector<StoredPair> pairs, storage::Sequence* sequence)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Logs and applies; confirms nothing.
  absl::Status Commit(const LogRecords& records, std::vector<StoredPair> pairs = {})
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteSnapshotWhenDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status FormUpTo(int64_t batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<SlicePlan> AwaitSlice(const BatchRequest& request, absl::Time give_up,
                                       const std::function<bool()>& cancelled)
      ABSL_LOCKS_EXCLUDED(mutex_);
  SlicePlan PlanSlice(const BatchRequest& request) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Waits until `sequence` is as durable as the table promises.
  absl::StatusOr<storage::Durability> Confirm(storage::Sequence sequence) const
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status StoreFailure(const absl::Status& status) const;
  ItemView ViewOf(const Item& item) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status ReadBodiesOf(std::vector<ItemView>& items) const ABSL_LOCKS_EXCLUDED(mutex_);

  const std::string job_id_;
  const JobTableDeps deps_;
  storage::StorageEngine* const engine_;
  const storage::Durability level_;

  mutable absl::Mutex mutex_;
  std::shared_ptr<const TableMetrics> metrics_ ABSL_GUARDED_BY(mutex_);  // null once it is closed
  ReplayTable table_ ABSL_GUARDED_BY(mutex_);
  storage::Position logged_position_ ABSL_GUARDED_BY(mutex_) = 0;
  storage::Position snapshot_position_ ABSL_GUARDED_BY(mutex_) = 0;
  storage::Sequence written_ ABSL_GUARDED_BY(mutex_) = 0;  // what the table's state rests upon
  int64_t commits_ ABSL_GUARDED_BY(mutex_) = 0;            // what waiting calls watch
  int64_t duplicate_inserts_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace dtrpo::replay

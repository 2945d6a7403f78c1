// All jobs of a replay process: opens, closes, finds and restores their tables. Thread-safe.
//
// A closed job leaves a tombstone for ever: opening it again is refused, so a rollout that missed
// the end of its job can't bring it back.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "services/replay/job_table.h"

namespace dtrpo::replay {

inline constexpr char kUnknownJob[] = "unknown_job";        // NOT_FOUND
inline constexpr char kOptionsDiffer[] = "options_differ";  // FAILED_PRECONDITION
inline constexpr char kShardsDiffer[] = "shards_differ";    // FAILED_PRECONDITION

// Which shard of how many a caller takes this store for. 0 shards: it doesn't say.
struct ShardOf {
  int32_t shard = 0;
  int32_t shards = 0;
};

struct OpenedJob {
  int64_t incarnation = 0;  // of a job of several shards
  bool empty = true;        // nothing was ever inserted
};

class ReplayStore {
 public:
  // `prefetch_batches`: of every job opened here; 0: job::kPrefetchBatches.
  explicit ReplayStore(const JobTableDeps& deps, int32_t prefetch_batches = 0);

  // Rebuilds every job in the engine, and says in the log how far it is. Call once, before the
  // first request.
  absl::Status Restore();

  // Repeating it with the same options changes nothing, unless `start_over` (to the shard that
  // sequences) or another incarnation (to one that doesn't) wants the job to begin anew.
  absl::StatusOr<OpenedJob> Open(const std::string& job_id, TableOptions options,
                                 bool start_over = false);
  // Idempotent; also for a job that was never opened here.
  absl::Status Close(const std::string& job_id);
  // NOT_FOUND "unknown_job"; FAILED_PRECONDITION "job_closed" comes from the table's operations.
  // Tables live as long as the store.
  absl::StatusOr<JobTable*> Find(absl::string_view job_id) const;
  // FAILED_PRECONDITION "shards_differ" when the job began with this store as another shard.
  absl::StatusOr<JobTable*> FindAs(absl::string_view job_id, const ShardOf& place) const;
  int64_t jobs() const;
  // By id; the closed ones too.
  std::vector<std::pair<std::string, JobTable*>> All() const;
  // Of the engine's files; -1 where it can't tell.
  storage::StoreSize SizeOnDisk() const;

  // See JobTable::Stop.
  void Stop();

 private:
  const JobTableDeps deps_;
  const int32_t prefetch_batches_;
  mutable absl::Mutex mutex_;
  std::map<std::string, std::unique_ptr<JobTable>, std::less<>> tables_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace dtrpo::replay

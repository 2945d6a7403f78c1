#include "services/replay/replay_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/logging.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"

namespace dtrpo::replay {
namespace {

constexpr size_t kMaxJobIdBytes = 256;
constexpr absl::Duration kProgressInterval = absl::Seconds(2);

absl::Status CheckJobId(absl::string_view job_id) {
  if (job_id.empty()) return absl::InvalidArgumentError("job.job_id: is empty");
  if (job_id.size() > kMaxJobIdBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("job.job_id: is longer than ", kMaxJobIdBytes, " bytes"));
  }
  return absl::OkStatus();
}

absl::Status CheckPlace(absl::string_view job_id, const TableOptions& options,
                        const ShardOf& place) {
  const bool same = place.shards == options.shards && place.shard == options.shard;
  if (place.shards == 0 || same) return absl::OkStatus();
  absl::Status status = absl::FailedPreconditionError(absl::StrCat(
      "job ", job_id, " began with this store as shard ", options.shard, " of ", options.shards,
      ", and is now told that it is shard ", place.shard, " of ", place.shards,
      ": a job ends with the shards that it began with, in the same order (the coordinator's "
      "`replay`); give them back, or cancel it"));
  base::SetReason(status, kShardsDiffer);
  return status;
}

// A tombstone of a job that was never opened here; its options mean nothing.
TableOptions SmallestOptions() {
  return {.pairs_per_batch = 1, .publish_every = 1, .max_pairs_per_prompt = 1, .total_steps = 1};
}

}  // namespace

ReplayStore::ReplayStore(const JobTableDeps& deps, int32_t prefetch_batches)
    : deps_(deps), prefetch_batches_(prefetch_batches) {}

absl::Status ReplayStore::Restore() {
  absl::MutexLock lock(&mutex_);
  DTRPO_ASSIGN_OR_RETURN(const std::vector<std::string> jobs, deps_.engine->Logs());
  const absl::Time start = deps_.clock->Now();
  absl::Time told = start;
  int64_t items = 0;
  for (const std::string& job_id : jobs) {
    if (const absl::Time now = deps_.clock->Now(); now - told >= kProgressInterval) {
      told = now;
      base::LogInfo("recovering",
                    {{"jobs", tables_.size()}, {"of", jobs.size()}, {"next", job_id}});
    }
    DTRPO_ASSIGN_OR_RETURN(std::unique_ptr<JobTable> table, JobTable::Restore(job_id, deps_));
    items += table->Stats().items;
    tables_.emplace(job_id, std::move(table));
  }
  if (!jobs.empty()) {
    base::LogInfo("recovered", {{"jobs", jobs.size()},
                                {"items", items},
                                {"seconds", absl::ToDoubleSeconds(deps_.clock->Now() - start)}});
  }
  return absl::OkStatus();
}

absl::StatusOr<OpenedJob> ReplayStore::Open(const std::string& job_id, TableOptions options,
                                            bool start_over) {
  DTRPO_RETURN_IF_ERROR(CheckJobId(job_id));
  options.prefetch_batches = prefetch_batches_;
  DTRPO_ASSIGN_OR_RETURN(options, Complete(options));
  if (options.shards == 1) options.incarnation = 0;
  const bool leads = options.shards > 1 && options.sequences();
  // Never a number of before, even if all that was before is lost.
  if (leads) options.incarnation = absl::ToUnixNanos(deps_.clock->Now());
  absl::MutexLock lock(&mutex_);
  auto it = tables_.find(job_id);
  if (it == tables_.end()) {
    DTRPO_ASSIGN_OR_RETURN(std::unique_ptr<JobTable> table,
                           JobTable::Create(job_id, options, deps_));
    if (stopped_) table->Stop();
    tables_.emplace(job_id, std::move(table));
    return OpenedJob{.incarnation = options.incarnation};
  }
  JobTable& table = *it->second;
  DTRPO_RETURN_IF_ERROR(table.CheckUsable());
  TableOptions known = table.options();
  DTRPO_RETURN_IF_ERROR(CheckPlace(job_id, known, {options.shard, options.shards}));
  const int64_t incarnation = known.incarnation;
  if (leads) options.incarnation = std::max(options.incarnation, incarnation + 1);
  const bool over = leads ? start_over : incarnation != options.incarnation;
  known.first_batch = options.first_batch;
  known.prefetch_batches = options.prefetch_batches;
  known.incarnation = options.incarnation;
  if (known == options && !over) {
    return OpenedJob{.incarnation = incarnation,
                     .empty = table.Stats().counters.inserted_prompts == 0};
  }
  if (known == options) {
    DTRPO_RETURN_IF_ERROR(table.StartOver(options));
    return OpenedJob{.incarnation = options.incarnation};
  }
  absl::Status status =
      absl::FailedPreconditionError(absl::StrCat("job ", job_id, " is open with other options"));
  base::SetReason(status, kOptionsDiffer);
  return status;
}

absl::Status ReplayStore::Close(const std::string& job_id) {
  DTRPO_RETURN_IF_ERROR(CheckJobId(job_id));
  absl::MutexLock lock(&mutex_);
  auto it = tables_.find(job_id);
  if (it == tables_.end()) {
    DTRPO_ASSIGN_OR_RETURN(const TableOptions options, Complete(SmallestOptions()));
    DTRPO_ASSIGN_OR_RETURN(std::unique_ptr<JobTable> table,
                           JobTable::Create(job_id, options, deps_));
    it = tables_.emplace(job_id, std::move(table)).first;
  }
  return it->second->Close();
}

absl::StatusOr<JobTable*> ReplayStore::Find(absl::string_view job_id) const {
  absl::ReaderMutexLock lock(&mutex_);
  auto it = tables_.find(job_id);
  if (it != tables_.end()) return it->second.get();
  DTRPO_RETURN_IF_ERROR(CheckJobId(job_id));
  absl::Status status = absl::NotFoundError(absl::StrCat("job ", job_id, " was not opened here"));
  base::SetReason(status, kUnknownJob);
  return status;
}

absl::StatusOr<JobTable*> ReplayStore::FindAs(absl::string_view job_id,
                                              const ShardOf& place) const {
  DTRPO_ASSIGN_OR_RETURN(JobTable * table, Find(job_id));
  const absl::Status placed = CheckPlace(job_id, table->options(), place);
  if (placed.ok()) return table;
  DTRPO_RETURN_IF_ERROR(table->CheckUsable());
  return placed;
}

std::vector<std::pair<std::string, JobTable*>> ReplayStore::All() const {
  absl::ReaderMutexLock lock(&mutex_);
  std::vector<std::pair<std::string, JobTable*>> all;
  for (const auto& [job_id, table] : tables_) all.emplace_back(job_id, table.get());
  return all;
}

storage::StoreSize ReplayStore::SizeOnDisk() const {
  return deps_.engine->Size().value_or(storage::StoreSize());
}

int64_t ReplayStore::jobs() const {
  absl::ReaderMutexLock lock(&mutex_);
  return static_cast<int64_t>(tables_.size());
}

void ReplayStore::Stop() {
  absl::MutexLock lock(&mutex_);
  stopped_ = true;
  for (auto& [job_id, table] : tables_) table->Stop();
}

}  // namespace dtrpo::replay

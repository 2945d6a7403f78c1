#include "services/replay/replay_store.h"

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

absl::Status ReplayStore::Open(const std::string& job_id, TableOptions options) {
  DTRPO_RETURN_IF_ERROR(CheckJobId(job_id));
  options.prefetch_batches = prefetch_batches_;
  DTRPO_ASSIGN_OR_RETURN(options, Complete(options));
  absl::MutexLock lock(&mutex_);
  auto it = tables_.find(job_id);
  if (it == tables_.end()) {
    DTRPO_ASSIGN_OR_RETURN(std::unique_ptr<JobTable> table,
                           JobTable::Create(job_id, options, deps_));
    if (stopped_) table->Stop();
    tables_.emplace(job_id, std::move(table));
    return absl::OkStatus();
  }
  DTRPO_RETURN_IF_ERROR(it->second->CheckUsable());
  TableOptions known = it->second->options();
  known.first_batch = options.first_batch;
  known.prefetch_batches = options.prefetch_batches;
  if (known == options) return absl::OkStatus();
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

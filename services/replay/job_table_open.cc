// The part of JobTable that makes one: new, or from its log.
#include <optional>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "services/replay/job_table.h"
#include "services/replay/log_codec.h"
#include "services/replay/table_metrics.h"

namespace dtrpo::replay {
namespace {

storage::StorageEngine* EngineOf(const JobTableDeps& deps, const TableOptions& options) {
  const bool volatile_table = options.durability == TableDurability::kMemory;
  return volatile_table && deps.memory_engine != nullptr ? deps.memory_engine : deps.engine;
}

storage::Durability LevelOf(const TableOptions& options) {
  switch (options.durability) {
    case TableDurability::kMemory:
      return storage::Durability::kMemory;
    case TableDurability::kLog:
      return storage::Durability::kLog;
    case TableDurability::kSync:
      break;
  }
  return storage::Durability::kSync;
}

}  // namespace

JobTable::JobTable(std::string job_id, const JobTableDeps& deps, ReplayTable table)
    : job_id_(std::move(job_id)),
      deps_(deps),
      engine_(EngineOf(deps, table.options())),
      level_(LevelOf(table.options())),
      table_(std::move(table)) {
  if (table_.closed()) return;
  metrics_ = deps_.metrics->of_run.Of(job_id_);
  MoveGauges(Shown(), Shown(table_), *metrics_);
}

JobTable::~JobTable() {
  if (metrics_ != nullptr) MoveGauges(Shown(table_), Shown(), *metrics_);
}

absl::StatusOr<std::unique_ptr<JobTable>> JobTable::Create(const std::string& job_id,
                                                           const TableOptions& options,
                                                           const JobTableDeps& deps) {
  DTRPO_ASSIGN_OR_RETURN(
      const storage::Confirmation confirmed,
      base::Annotate(
          EngineOf(deps, options)
              ->Append(job_id, {.records = {EncodeRecord(JobOpened{options})}}, LevelOf(options)),
          "opening job ", job_id));
  DTRPO_CHECK_EQ(confirmed.position, 1);
  auto table = absl::WrapUnique(new JobTable(job_id, deps, ReplayTable(options)));
  absl::MutexLock lock(&table->mutex_);
  table->logged_position_ = confirmed.position;
  return table;
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
  auto restored = absl::WrapUnique(new JobTable(job_id, deps, *std::move(table)));
  absl::MutexLock lock(&restored->mutex_);
  restored->logged_position_ = position;
  restored->snapshot_position_ = snapshot_position;
  return restored;
}

}  // namespace dtrpo::replay

// The part of JobTable that serves jobs of several shards: see replay_table_shards.cc.
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"
#include "services/replay/job_table.h"

namespace dtrpo::replay {

std::vector<NewItem> JobTable::NewItems(const std::vector<StoredPair>& pairs) {
  std::vector<NewItem> items;
  items.reserve(pairs.size());
  for (const StoredPair& pair : pairs) {
    items.push_back({.version = pair.version,
                     .size_bytes = static_cast<int64_t>(pair.body.size()),
                     .priority = pair.priority});
  }
  return items;
}

absl::Status JobTable::CheckIncarnation(int64_t incarnation) const {
  if (incarnation == table_.options().incarnation) return absl::OkStatus();
  absl::Status status = absl::FailedPreconditionError(
      absl::StrCat("job ", job_id_, " has started over since this was staged"));
  base::SetReason(status, kStartedOver);
  return status;
}

absl::StatusOr<InsertOutcome> JobTable::InsertStaged(const PromptKey& prompt,
                                                     const StagedPrompt& staged) {
  return InsertItems(prompt, staged.items, staged.at, staged.incarnation, {});
}

absl::StatusOr<StagedPrompt> JobTable::Stage(const PromptKey& prompt,
                                             std::vector<StoredPair> pairs) {
  const std::vector<NewItem> items = NewItems(pairs);
  StagedPrompt staged;
  storage::Sequence sequence = 0;
  {
    absl::MutexLock lock(&mutex_);
    DTRPO_RETURN_IF_ERROR(CheckOpen());
    DTRPO_ASSIGN_OR_RETURN(const LogRecords records, table_.PlanStage(prompt, items));
    DTRPO_RETURN_IF_ERROR(Commit(records, std::move(pairs)));
    staged.at.shard = table_.options().shard;
    staged.incarnation = table_.options().incarnation;
    for (const Item& item : table_.StagedItems(prompt)) {
      if (staged.items.empty()) staged.at.first_body = item.id;
      staged.items.push_back(
          {.version = item.version, .size_bytes = item.size_bytes, .priority = item.priority});
    }
    sequence = written_;
  }
  DTRPO_RETURN_IF_ERROR(Confirm(sequence).status());
  return staged;
}

absl::Status JobTable::Settle(const std::vector<PromptEvent>& events) {
  storage::Sequence sequence = 0;
  {
    absl::MutexLock lock(&mutex_);
    DTRPO_RETURN_IF_ERROR(CheckOpen());
    DTRPO_RETURN_IF_ERROR(Commit(table_.PlanSettle(events)));
    sequence = written_;
  }
  return Confirm(sequence).status();
}

absl::Status JobTable::StartOver(const TableOptions& options) {
  storage::Sequence sequence = 0;
  {
    absl::MutexLock lock(&mutex_);
    DTRPO_RETURN_IF_ERROR(CheckOpen());
    DTRPO_RETURN_IF_ERROR(Commit(table_.PlanStartOver(options)));
    sequence = written_;
  }
  return Confirm(sequence).status();
}

absl::StatusOr<std::vector<ItemView>> JobTable::FindItems(const std::vector<ItemId>& ids,
                                                          int64_t incarnation) const {
  std::vector<ItemView> views;
  auto gone = [this](ItemId id) {
    absl::Status status = absl::NotFoundError(
        absl::StrCat("job ", job_id_, " has no item ", id, " (any more) on this shard"));
    base::SetReason(status, kItemGone);
    return status;
  };
  {
    absl::MutexLock lock(&mutex_);
    DTRPO_RETURN_IF_ERROR(CheckOpen());
    const bool over = incarnation != 0 && incarnation != table_.options().incarnation;
    for (ItemId id : ids) {
      const Item* item = over ? nullptr : table_.FindItem(id);
      if (item == nullptr) return gone(id);
      views.push_back(ViewOf(*item));
    }
  }
  DTRPO_RETURN_IF_ERROR(ReadBodiesOf(views));
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i >= views.size() || views[i].item.id != ids[i]) return gone(ids[i]);
  }
  return views;
}

}  // namespace dtrpo::replay

// The part of JobTable that only looks: statistics, items and their bodies. What it shows may be
// ahead of what is confirmed.
#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "services/replay/job_table.h"

namespace dtrpo::replay {

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
          .checkpoint_wanted = table_.CheckpointWanted(),
          .wanted_items = table_.wanted_items(),
          .closed = table_.closed(),
          .durability = std::min(level_, engine_->durability())};
}

absl::Status JobTable::CheckUsable() const {
  absl::MutexLock lock(&mutex_);
  return CheckOpen();
}

TableOptions JobTable::options() const {
  absl::MutexLock lock(&mutex_);
  return table_.options();
}

ItemView JobTable::ViewOf(const Item& item) const {
  return {.item = item, .available = table_.Available(item.id), .body = {}};
}

absl::Status JobTable::ReadBodiesOf(std::vector<ItemView>& items) const {
  // One by one: an item may leave between the look at the table and this.
  for (auto it = items.begin(); it != items.end();) {
    if (it->item.shard > 0) {  // its body is elsewhere
      ++it;
      continue;
    }
    auto bodies = engine_->ReadBodies(job_id_, {it->item.id});
    if (bodies.ok()) {
      it->body = std::move(bodies->front());
      ++it;
    } else if (absl::IsNotFound(bodies.status())) {
      it = items.erase(it);
    } else {
      return base::Annotate(bodies.status(), "item ", it->item.id, " of job ", job_id_);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ItemView>> JobTable::ItemsAfter(ItemId after, int64_t limit,
                                                           bool* end) const {
  std::vector<ItemView> views;
  {
    absl::MutexLock lock(&mutex_);
    DTRPO_RETURN_IF_ERROR(CheckOpen());
    for (const Item& item : table_.ItemsAfter(after, limit)) views.push_back(ViewOf(item));
    *end = std::ssize(views) < limit;
  }
  DTRPO_RETURN_IF_ERROR(ReadBodiesOf(views));
  return views;
}

absl::StatusOr<ItemView> JobTable::FindItem(ItemId id) const {
  std::vector<ItemView> views;
  {
    absl::MutexLock lock(&mutex_);
    DTRPO_RETURN_IF_ERROR(CheckOpen());
    if (const Item* item = table_.FindItem(id); item != nullptr) views.push_back(ViewOf(*item));
  }
  DTRPO_RETURN_IF_ERROR(ReadBodiesOf(views));
  if (views.empty()) {
    return absl::NotFoundError(
        absl::StrCat("job ", job_id_, " has no item ", id, "; it may have been used up"));
  }
  return std::move(views.front());
}

}  // namespace dtrpo::replay

// The part of ReplayTable that lets a job have several shards: the one that sequences is a table as
// any other, and knows where bodies are; the others keep them from Stage until Settle.
#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"
#include "services/replay/replay_table.h"

namespace dtrpo::replay {
namespace {

constexpr absl::Duration kStagedRetryAfter = absl::Milliseconds(500);
// What is staged and not inserted is a prompt or two of each writer; the one that sequences bounds
// the rest.
constexpr int64_t kRoom = 2;

// `items` leave, with their bodies.
void Remove(const std::vector<ItemId>& items, LogRecords& records) {
  if (items.empty()) return;
  records.push_back(ItemsWithdrawn{items});
  records.push_back(ItemsDeleted{items});
}

}  // namespace

absl::StatusOr<LogRecords> ReplayTable::PlanStage(const PromptKey& prompt,
                                                  const std::vector<NewItem>& items) const {
  DTRPO_ASSIGN_OR_RETURN(const bool is_new, CheckNew(prompt, static_cast<int64_t>(items.size())));
  if (!is_new) return LogRecords();
  int64_t size_bytes = 0;
  for (const NewItem& item : items) size_bytes += item.size_bytes;
  const bool full = this->items() + static_cast<int64_t>(items.size()) > kRoom * options_.max_items;
  if (full || bytes_ + size_bytes > kRoom * options_.max_bytes) {
    return base::BackPressureError(
        absl::StrCat("shard ", options_.shard, " keeps ", this->items(), " pairs of ", bytes_,
                     " bytes, of which some were never inserted"),
        kReplayFull, kStagedRetryAfter);
  }
  return LogRecords{PromptStored{prompt, next_item_, items}};
}

void ReplayTable::NoteStaged(const Item& item) {
  if (options_.sequences()) return;
  auto [first, is_new] =
      staged_.emplace(std::pair(item.prompt.epoch, item.prompt.prompt_index), item.id);
  if (!is_new) first->second = std::min(first->second, item.id);
}

std::vector<Item> ReplayTable::StagedItems(const PromptKey& prompt) const {
  std::vector<Item> items;
  auto first = staged_.find({prompt.epoch, prompt.prompt_index});
  if (first == staged_.end() || !(item(first->second).prompt == prompt)) return items;
  for (ItemId id = first->second;; ++id) {
    const Item* next = FindItem(id);
    if (next == nullptr || !(next->prompt == prompt)) return items;
    items.push_back(*next);
  }
}

LogRecords ReplayTable::PlanSettle(const std::vector<PromptEvent>& events) const {
  LogRecords records;
  std::vector<ItemId> gone;
  ItemsUsed used;
  std::set<std::tuple<int64_t, int64_t, int32_t>> seen;
  for (const PromptEvent& event : events) {
    const PromptKey& prompt = event.prompt;
    if (event.kind == PromptEvent::Kind::kStored) continue;
    if (!seen.emplace(prompt.epoch, prompt.prompt_index, prompt.attempt).second) continue;
    const std::vector<Item> items = StagedItems(prompt);
    for (const Item& item : items) {
      gone.push_back(item.id);
      if (event.kind == PromptEvent::Kind::kConsumed) used.items.push_back(item.id);
    }
    // Another writer staged nothing yet: now it is told that it needn't.
    const bool no_pair = event.kind == PromptEvent::Kind::kNoPair && items.empty();
    if (no_pair && ledger_.Judge(prompt) == PromptLedger::Verdict::kNew) {
      records.push_back(PromptWithoutPair{prompt});
    }
  }
  if (!used.items.empty()) records.push_back(std::move(used));
  Remove(gone, records);
  // Nobody asks this shard for events.
  for (LogRecord& record : PlanDropEvents(ledger_.last_position())) {
    if (!records.empty()) records.push_back(std::move(record));
  }
  return records;
}

LogRecords ReplayTable::PlanForget(int64_t epochs_below) const {
  LogRecords records;
  std::vector<ItemId> gone;
  for (auto it = staged_.begin(); it != staged_.end() && it->first.first < epochs_below; ++it) {
    for (const Item& item : StagedItems(item(it->second).prompt)) gone.push_back(item.id);
  }
  Remove(gone, records);
  return records;
}

void ReplayTable::On(const ItemsUsed& record) {
  for (ItemId id : record.items) {
    Item& used = item(id);
    used.uses = 1;
    ledger_.ItemUsed(used.prompt);
  }
}

void ReplayTable::On(const StartedOver& record) {
  const ItemId next_item = next_item_;
  *this = ReplayTable(record.options);
  next_item_ = next_item;
}

}  // namespace dtrpo::replay

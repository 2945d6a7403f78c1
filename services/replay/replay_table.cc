// The state of ReplayTable and how records change it. Decisions are in replay_table_plan.cc.
#include "services/replay/replay_table.h"

#include <algorithm>
#include <iterator>

#include "common/base/check.h"
#include "common/job/job_limits.h"

namespace dtrpo::replay {

ReplayTable::ReplayTable(const TableOptions& options)
    : options_(options), limiter_(options), selector_(MakeSelector(options)) {
  formed_batch_ = acknowledged_batch_ = options.first_batch - 1;
}

ReplayTable::ReplayTable(const TableSnapshot& snapshot)
    : options_(snapshot.options),
      limiter_(snapshot.options),
      counters_(snapshot.counters),
      next_item_(snapshot.next_item),
      largest_prompt_bytes_(snapshot.largest_prompt_bytes),
      highest_priority_(snapshot.highest_priority),
      formed_batch_(snapshot.formed_batch),
      acknowledged_batch_(snapshot.acknowledged_batch),
      newest_version_(snapshot.newest_version),
      attempt_(snapshot.attempt),
      end_of_data_(snapshot.end_of_data),
      external_ended_(snapshot.external_ended),
      prompts_ended_(snapshot.prompts_ended),
      last_formed_(snapshot.last_formed),
      closed_(snapshot.closed),
      selector_(MakeSelector(snapshot.options)),
      ledger_(snapshot.ledger) {
  if (external_ended_) selector_->EndKind(true);
  if (prompts_ended_) selector_->EndKind(false);
  for (const Item& item : snapshot.items) {
    items_.emplace(item.id, item);
    bytes_ += item.size_bytes;
    assigned_items_ += item.unacknowledged > 0;
    NoteStaged(item);
  }
  for (ItemId id : snapshot.available) MakeAvailable(item(id));
  for (const Batch& batch : snapshot.batches) batches_.emplace(batch.number, batch);
}

TableSnapshot ReplayTable::ToSnapshot() const {
  TableSnapshot snapshot = {.options = options_,
                            .counters = counters_,
                            .next_item = next_item_,
                            .largest_prompt_bytes = largest_prompt_bytes_,
                            .highest_priority = highest_priority_,
                            .formed_batch = formed_batch_,
                            .acknowledged_batch = acknowledged_batch_,
                            .newest_version = newest_version_,
                            .attempt = attempt_,
                            .end_of_data = end_of_data_,
                            .external_ended = external_ended_,
                            .prompts_ended = prompts_ended_,
                            .last_formed = last_formed_,
                            .closed = closed_,
                            .items = {},
                            .available = selector_->Items(),
                            .batches = {},
                            .ledger = ledger_};
  for (const auto& [id, item] : items_) snapshot.items.push_back(item);
  std::sort(snapshot.items.begin(), snapshot.items.end(),
            [](const Item& a, const Item& b) { return a.id < b.id; });
  for (const auto& [n, batch] : batches_) snapshot.batches.push_back(batch);
  return snapshot;
}

// ---------------------------------------------------------------- queries

bool ReplayTable::FitsBatch(int64_t version, int64_t n) const {
  return job::Fits(version, n, options_.publish_every, options_.max_staleness);
}

int64_t ReplayTable::PolicyVersion(int64_t n) const {
  return job::PolicyVersion(n, options_.publish_every);
}

int64_t ReplayTable::LagVersions(int64_t n, const BatchEntry& entry) const {
  const int64_t version = item(entry.item).version;
  return version < 0 ? 0 : std::max<int64_t>(0, PolicyVersion(n) - version);
}

const Batch& ReplayTable::batch(int64_t n) const {
  auto it = batches_.find(n);
  DTRPO_CHECK(it != batches_.end())
      << "batch " << n << " of (" << acknowledged_batch_ << ", " << formed_batch_ << "]";
  return it->second;
}

bool ReplayTable::CheckpointWanted() const {
  const bool full = items() + options_.max_pairs_per_prompt > options_.max_items ||
                    bytes_ + largest_prompt_bytes_ > options_.max_bytes;
  const bool lacks = available_items() < wanted_items() ||
                     selector_->Ready(options_.pairs_per_batch) < options_.pairs_per_batch;
  return full && !batches_.empty() && !end_of_data_ && lacks;
}

const Item* ReplayTable::FindItem(ItemId id) const {
  auto it = items_.find(id);
  return it == items_.end() ? nullptr : &it->second;
}

std::vector<Item> ReplayTable::ItemsAfter(ItemId after, int64_t limit) const {
  std::vector<Item> items;
  for (const auto& [id, item] : items_) {
    if (id > after) items.push_back(item);
  }
  auto by_id = [](const Item& a, const Item& b) { return a.id < b.id; };
  const auto wanted = std::min<int64_t>(std::max<int64_t>(limit, 0), std::ssize(items));
  std::partial_sort(items.begin(), items.begin() + wanted, items.end(), by_id);
  items.resize(wanted);
  return items;
}

const Item& ReplayTable::item(ItemId id) const {
  auto it = items_.find(id);
  DTRPO_CHECK(it != items_.end()) << "no item " << id;
  return it->second;
}

Item& ReplayTable::item(ItemId id) {
  return const_cast<Item&>(static_cast<const ReplayTable&>(*this).item(id));
}

// ---------------------------------------------------------------- changes

void ReplayTable::Apply(const LogRecord& record) {
  DTRPO_CHECK(!closed_) << "a record after the job was closed";
  std::visit([this](const auto& fact) { On(fact); }, record);
}

void ReplayTable::MakeAvailable(const Item& item) {
  selector_->Add({.id = item.id, .version = item.version, .priority = item.priority});
  if (item.version >= 0) available_by_version_.emplace(item.version, item.id);
}

void ReplayTable::MakeUnavailable(const Item& item) {
  selector_->Remove(item.id);
  available_by_version_.erase({item.version, item.id});
}

void ReplayTable::On(const JobOpened&) {
  DTRPO_CHECK(false) << "a table is made from JobOpened, which comes once";
}

void ReplayTable::On(const JobClosed&) {
  *this = ReplayTable(options_);
  closed_ = true;
}

void ReplayTable::On(const PromptStored& record) {
  DTRPO_CHECK_EQ(record.first_item, next_item_);
  ledger_.Store(record.prompt, static_cast<int32_t>(record.items.size()));
  int64_t prompt_bytes = 0;
  ItemId body = record.elsewhere.first_body;
  for (const NewItem& added : record.items) {
    const Item item = {.id = next_item_++,
                       .prompt = record.prompt,
                       .version = added.version,
                       .size_bytes = added.size_bytes,
                       .priority = added.priority,
                       .shard = record.elsewhere.shard,
                       .body = body};
    if (item.shard > 0) ++body;
    prompt_bytes += item.size_bytes;
    items_.emplace(item.id, item);
    NoteStaged(item);
    MakeAvailable(item);
  }
  bytes_ += prompt_bytes;
  largest_prompt_bytes_ = std::max(largest_prompt_bytes_, prompt_bytes);
  counters_.inserted_items += static_cast<int64_t>(record.items.size());
  ++counters_.inserted_prompts;
}

void ReplayTable::On(const PromptWithoutPair& record) {
  ledger_.NoPair(record.prompt);
  ++counters_.no_pair_prompts;
}

void ReplayTable::On(const BatchFormed& record) {
  DTRPO_CHECK_EQ(record.batch, formed_batch_ + 1);
  Batch batch = {.number = record.batch, .entries = {}, .last = record.last};
  for (ItemId id : record.items) {
    Item& used = item(id);
    DTRPO_CHECK(FitsBatch(used.version, record.batch) && used.uses < limiter_.UsesOf(id))
        << "item " << id << " doesn't fit batch " << record.batch;
    batch.entries.push_back({.item = id, .use_index = used.uses});
    MakeUnavailable(used);
    ++used.uses;
    assigned_items_ += ++used.unacknowledged == 1;
    if (used.uses < limiter_.UsesOf(id)) MakeAvailable(used);
    ledger_.ItemUsed(used.prompt);
  }
  batches_.emplace(record.batch, std::move(batch));
  formed_batch_ = record.batch;
  last_formed_ = record.last;
}

void ReplayTable::On(const ItemsWithdrawn& record) {
  for (ItemId id : record.items) MakeUnavailable(item(id));
}

void ReplayTable::On(const PrioritiesUpdated& record) {
  std::vector<BatchEntry>& entries = batches_.at(record.batch).entries;
  for (size_t i = 0; i < record.priorities.size(); ++i) {
    BatchEntry& entry = entries[record.first_entry + static_cast<int64_t>(i)];
    if (entry.priority_updated) continue;
    entry.priority_updated = true;
    Item& scored = item(entry.item);
    scored.priority = record.priorities[i];
    highest_priority_ = std::max(highest_priority_, scored.priority);
    if (selector_->Holds(scored.id)) selector_->SetPriority(scored.id, scored.priority);
  }
}

void ReplayTable::On(const BatchesAcknowledged& record) {
  DTRPO_CHECK(record.up_to_batch <= formed_batch_) << record.up_to_batch;
  while (!batches_.empty() && batches_.begin()->first <= record.up_to_batch) {
    for (const BatchEntry& entry : batches_.begin()->second.entries) {
      assigned_items_ -= --item(entry.item).unacknowledged == 0;
    }
    batches_.erase(batches_.begin());
  }
  acknowledged_batch_ = record.up_to_batch;
}

void ReplayTable::On(const ItemsDeleted& record) {
  for (ItemId id : record.items) {
    const Item& gone = item(id);
    DTRPO_CHECK(gone.unacknowledged == 0 && !selector_->Holds(id))
        << "item " << id << " may still be asked for";
    ++(gone.uses > 0 ? counters_.consumed_items : counters_.evicted_items);
    bytes_ -= gone.size_bytes;
    ledger_.ItemGone(gone.prompt);
    staged_.erase({gone.prompt.epoch, gone.prompt.prompt_index});
    items_.erase(id);
  }
}

void ReplayTable::On(const VersionPublished& record) { newest_version_ = record.version; }
void ReplayTable::On(const DataEnded&) { end_of_data_ = true; }
void ReplayTable::On(const KindEnded& record) {
  (record.external ? external_ended_ : prompts_ended_) = true;
  selector_->EndKind(record.external);
}
void ReplayTable::On(const AttemptGranted& record) { attempt_ = record.attempt; }
void ReplayTable::On(const EventsDropped& record) { ledger_.DropEvents(record.up_to_position); }
void ReplayTable::On(const EpochsForgotten& record) {
  ledger_.ForgetEpochsBelow(record.below_epoch);
}

}  // namespace dtrpo::replay

// Thread safety: plain data.
// The whole state of a ReplayTable: what a snapshot stores, and what tests compare.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "services/replay/log_record.h"
#include "services/replay/prompt_ledger.h"
#include "services/replay/table_options.h"

namespace dtrpo::replay {

// A stored pair.
struct Item {
  ItemId id = 0;
  PromptKey prompt;
  int64_t version = 0;  // -1: external
  int64_t size_bytes = 0;
  int32_t uses = 0;            // batches it is or was in
  int32_t unacknowledged = 0;  // of them, not acknowledged
  double priority = 0;
  int32_t shard = 0;  // that keeps the body; 0: this one, under `id`
  ItemId body = 0;    // its number there

  bool operator==(const Item&) const = default;
};

struct BatchEntry {
  ItemId item = 0;
  int32_t use_index = 0;          // the item's uses before this batch
  bool priority_updated = false;  // by this batch: a second update of it changes nothing

  bool operator==(const BatchEntry&) const = default;
};

struct Batch {
  int64_t number = 0;
  std::vector<BatchEntry> entries;
  bool last = false;

  bool operator==(const Batch&) const = default;
};

struct TableCounters {
  int64_t inserted_items = 0;
  int64_t inserted_prompts = 0;
  int64_t no_pair_prompts = 0;
  int64_t evicted_items = 0;   // deleted without ever being in a batch
  int64_t consumed_items = 0;  // deleted after every batch they were in was acknowledged

  bool operator==(const TableCounters&) const = default;
};

struct TableSnapshot {
  TableOptions options;
  TableCounters counters;
  ItemId next_item = 1;
  int64_t largest_prompt_bytes = 0;
  double highest_priority = 1;  // that the learner gave: what a new item starts with
  int64_t formed_batch = 0;
  int64_t acknowledged_batch = 0;
  int64_t newest_version = 0;
  int32_t attempt = 0;
  bool end_of_data = false;
  bool external_ended = false;
  bool prompts_ended = false;
  bool last_formed = false;
  bool closed = false;
  std::vector<Item> items;        // by id
  std::vector<ItemId> available;  // in the selector's order
  std::vector<Batch> batches;     // unacknowledged, by number
  PromptLedger ledger;

  bool operator==(const TableSnapshot&) const = default;
};

}  // namespace dtrpo::replay

// Thread safety: plain data.
//
// What happens to a job's table, as facts in the past tense. ReplayTable decides (Plan...) which
// facts come next, they are logged, and only then applied; a table is its log, replayed. Each fact
// says all that it changes, so a later version that decides otherwise still reads old logs right.
// The bytes are in log_codec.h.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "services/replay/table_options.h"

namespace dtrpo::replay {

using ItemId = int64_t;  // of a pair within its job, counted from 1; also the id of its body

// A prompt of an epoch; with its attempt, the idempotency key of an insert.
struct PromptKey {
  int64_t epoch = 0;
  int64_t prompt_index = 0;
  int32_t attempt = 0;

  bool operator==(const PromptKey&) const = default;
};

// What the table knows about a pair; its body is elsewhere.
struct NewItem {
  int64_t version = 0;  // oldest weights version with a hand in it; -1: external
  int64_t size_bytes = 0;
  double priority = 0;  // the reward gap, or what the table gives new items

  bool operator==(const NewItem&) const = default;
};

struct JobOpened {  // always the first record
  TableOptions options;
};
struct JobClosed {};  // always the last one
// Where another shard keeps the bodies of an insert: consecutive items of its own.
struct Elsewhere {
  int32_t shard = 0;  // 0: they are here
  ItemId first_body = 0;

  bool operator==(const Elsewhere&) const = default;
};

struct PromptStored {
  PromptKey prompt;
  ItemId first_item = 0;  // the others follow
  std::vector<NewItem> items;
  Elsewhere elsewhere = {};
};
struct PromptWithoutPair {
  PromptKey prompt;
};
struct BatchFormed {
  int64_t batch = 0;
  std::vector<ItemId> items;
  bool last = false;  // the data ended with it
};
struct ItemsWithdrawn {  // they fit no future batch
  std::vector<ItemId> items;
};
// What the learner says of items of a batch that isn't acknowledged: entries first_entry, ... of
// it.
struct PrioritiesUpdated {
  int64_t batch = 0;
  int64_t first_entry = 0;
  std::vector<double> priorities;
};
struct BatchesAcknowledged {
  int64_t up_to_batch = 0;
};
struct ItemsDeleted {  // with their bodies
  std::vector<ItemId> items;
};
struct VersionPublished {
  int64_t version = 0;
};
struct DataEnded {};
struct KindEnded {  // no further imported items, or none of prompts
  bool external = false;
};
struct AttemptGranted {
  int32_t attempt = 0;
};
struct EventsDropped {
  int64_t up_to_position = 0;
};
struct EpochsForgotten {
  int64_t below_epoch = 0;
};
// Of several shards (replay_table_shards.cc).
struct ItemsUsed {  // by batches of the shard that sequences
  std::vector<ItemId> items;
};
struct StartedOver {  // as if opened again; item numbers go on
  TableOptions options;
};

using LogRecord = std::variant<JobOpened, JobClosed, PromptStored, PromptWithoutPair, BatchFormed,
                               ItemsWithdrawn, BatchesAcknowledged, ItemsDeleted, VersionPublished,
                               DataEnded, AttemptGranted, EventsDropped, EpochsForgotten,
                               PrioritiesUpdated, KindEnded, ItemsUsed, StartedOver>;
using LogRecords = std::vector<LogRecord>;

}  // namespace dtrpo::replay

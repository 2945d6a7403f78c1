#include "services/replay/log_codec.h"

#include <algorithm>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "google/protobuf/arena.h"
#include "proto/dtrpo/v1/replay_log.pb.h"

namespace dtrpo::replay {
namespace {

constexpr int32_t kFormatVersion = 1;
constexpr int kEventKinds = 4;

absl::Status CheckFormat(absl::string_view what, int32_t format_version) {
  if (format_version == kFormatVersion) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(what, ": format_version ", format_version,
                                          ", this program reads ", kFormatVersion));
}

TableOptions OptionsFromProto(const v1::ReplayTableOptions& from) {
  TableOptions options = FromProto(from.job());
  options.prefetch_batches = from.prefetch_batches();
  return options;
}

void ToProto(const TableOptions& from, v1::ReplayTableOptions* to) {
  ToProto(from, to->mutable_job());
  to->set_prefetch_batches(from.prefetch_batches);
}

template <typename Items>
void SetItems(const std::vector<ItemId>& from, Items* to) {
  to->Assign(from.begin(), from.end());
}

// One overload per fact.
struct RecordEncoder {
  v1::ReplayLogRecord& to;

  void operator()(const JobOpened& fact) { ToProto(fact.options, to.mutable_job_opened()); }
  void operator()(const JobClosed&) { to.set_job_closed(true); }
  void operator()(const PromptStored& fact) {
    v1::ReplayStoredPrompt* stored = to.mutable_prompt_stored();
    ToProto(fact.prompt, stored->mutable_prompt());
    stored->set_first_item(fact.first_item);
    for (const NewItem& item : fact.items) {
      auto* added = stored->add_items();
      added->set_version(item.version);
      added->set_size_bytes(item.size_bytes);
      added->set_priority(item.priority);
    }
    stored->set_shard(fact.elsewhere.shard);
    stored->set_first_body(fact.elsewhere.first_body);
  }
  void operator()(const PromptWithoutPair& fact) {
    ToProto(fact.prompt, to.mutable_prompt_without_pair());
  }
  void operator()(const BatchFormed& fact) {
    to.mutable_batch_formed()->set_batch(fact.batch);
    SetItems(fact.items, to.mutable_batch_formed()->mutable_items());
    to.mutable_batch_formed()->set_last(fact.last);
  }
  void operator()(const ItemsWithdrawn& fact) {
    SetItems(fact.items, to.mutable_items_withdrawn()->mutable_items());
  }
  void operator()(const BatchesAcknowledged& fact) {
    to.set_batches_acknowledged(fact.up_to_batch);
  }
  void operator()(const ItemsDeleted& fact) {
    SetItems(fact.items, to.mutable_items_deleted()->mutable_items());
  }
  void operator()(const VersionPublished& fact) { to.set_version_published(fact.version); }
  void operator()(const DataEnded&) { to.set_data_ended(true); }
  void operator()(const KindEnded& fact) { to.set_external_ended(fact.external); }
  void operator()(const AttemptGranted& fact) { to.set_attempt_granted(fact.attempt); }
  void operator()(const EventsDropped& fact) { to.set_events_dropped(fact.up_to_position); }
  void operator()(const EpochsForgotten& fact) { to.set_epochs_forgotten(fact.below_epoch); }
  void operator()(const PrioritiesUpdated& fact) {
    auto* updated = to.mutable_priorities_updated();
    updated->set_batch(fact.batch);
    updated->set_first_entry(fact.first_entry);
    updated->mutable_priorities()->Assign(fact.priorities.begin(), fact.priorities.end());
  }
  void operator()(const ItemsUsed& fact) {
    SetItems(fact.items, to.mutable_items_used()->mutable_items());
  }
  void operator()(const StartedOver& fact) { ToProto(fact.options, to.mutable_started_over()); }
};

PromptStored StoredFromProto(const v1::ReplayStoredPrompt& from) {
  PromptStored fact = {.prompt = FromProto(from.prompt()),
                       .first_item = from.first_item(),
                       .items = {},
                       .elsewhere = {.shard = from.shard(), .first_body = from.first_body()}};
  for (const auto& item : from.items()) {
    fact.items.push_back(
        {.version = item.version(), .size_bytes = item.size_bytes(), .priority = item.priority()});
  }
  return fact;
}

std::vector<ItemId> ItemsOf(const v1::ReplayItemList& from) {
  return {from.items().begin(), from.items().end()};
}

// The enums of a prompt's state and of an event are stored as their numbers.
constexpr int kPromptStates = 4;

absl::Status LedgerFromProto(const v1::ReplayTableSnapshot& from, PromptLedger* ledger) {
  PromptLedger::PromptMap prompts;
  for (const auto& prompt : from.prompts()) {
    if (prompt.state() < 0 || prompt.state() >= kPromptStates) {
      return absl::DataLossError(absl::StrCat("snapshot: prompt state ", prompt.state()));
    }
    prompts[{prompt.key().epoch(), prompt.key().prompt_index()}] = {
        .state = static_cast<PromptRecord::State>(prompt.state()),
        .used = prompt.used(),
        .attempt = prompt.key().prompt_attempt(),
        .pairs = prompt.pairs(),
        .left = prompt.left()};
  }
  std::deque<PromptEvent> events;
  for (const auto& event : from.events()) {
    absl::StatusOr<PromptEvent> decoded = EventFromProto(event);
    if (!decoded.ok())
      return absl::DataLossError("snapshot: " + std::string(decoded.status().message()));
    events.push_back(*decoded);
  }
  ledger->Restore(std::move(prompts), std::move(events), from.last_event_position(),
                  from.forgotten_below_epoch());
  return absl::OkStatus();
}

}  // namespace

// ---------------------------------------------------------------- parts

// 0, as in logs from before there was a choice: sync.
TableDurability DurabilityOf(v1::Durability from) {
  return from == v1::DURABILITY_UNSPECIFIED ? TableDurability::kSync
                                            : static_cast<TableDurability>(from - 1);
}

TableOptions FromProto(const v1::ReplayJobOptions& from) {
  return {.pairs_per_batch = from.pairs_per_batch(),
          .publish_every = from.publish_every(),
          .max_staleness = from.max_staleness(),
          .max_uses = from.max_uses(),
          .max_items = from.max_items(),
          .max_bytes = from.max_bytes(),
          .seed = from.seed(),
          .max_pairs_per_prompt = from.max_pairs_per_prompt(),
          .total_steps = from.total_steps(),
          .checkpoint_every = from.checkpoint_every(),
          .prefetch_batches = 0,
          .first_batch = from.first_batch(),
          .durability = DurabilityOf(from.durability()),
          .selector = static_cast<SelectorKind>(from.selector()),
          .priority = static_cast<PrioritySource>(from.priority()),
          .priority_exponent = from.priority_exponent(),
          .min_items = from.min_items(),
          .samples_per_insert = from.samples_per_insert(),
          .external_pairs_per_batch = from.external_pairs_per_batch(),
          .vocabulary_size = from.vocabulary_size(),
          .shards =
              from.shards() == 0 ? 1 : from.shards(),  // as in logs from before there were several
          .shard = from.shard(),
          .incarnation = from.incarnation()};
}

void ToProto(const TableOptions& from, v1::ReplayJobOptions* to) {
  to->set_pairs_per_batch(from.pairs_per_batch);
  to->set_publish_every(from.publish_every);
  to->set_max_staleness(from.max_staleness);
  to->set_max_uses(from.max_uses);
  to->set_max_items(from.max_items);
  to->set_max_bytes(from.max_bytes);
  to->set_seed(from.seed);
  to->set_max_pairs_per_prompt(from.max_pairs_per_prompt);
  to->set_total_steps(from.total_steps);
  to->set_checkpoint_every(from.checkpoint_every);
  to->set_first_batch(from.first_batch);
  to->set_durability(static_cast<v1::Durability>(static_cast<int>(from.durability) + 1));
  to->set_selector(static_cast<v1::ReplaySelector>(from.selector));
  to->set_priority(static_cast<v1::ReplayPriority>(from.priority));
  to->set_priority_exponent(from.priority_exponent);
  to->set_min_items(from.min_items);
  to->set_samples_per_insert(from.samples_per_insert);
  to->set_external_pairs_per_batch(from.external_pairs_per_batch);
  to->set_vocabulary_size(from.vocabulary_size);
  to->set_shards(from.shards);
  to->set_shard(from.shard);
  to->set_incarnation(from.incarnation);
}

PromptKey FromProto(const v1::PromptKey& from) {
  return {
      .epoch = from.epoch(), .prompt_index = from.prompt_index(), .attempt = from.prompt_attempt()};
}

void ToProto(const PromptKey& from, v1::PromptKey* to) {
  to->set_epoch(from.epoch);
  to->set_prompt_index(from.prompt_index);
  to->set_prompt_attempt(from.attempt);
}

absl::StatusOr<PromptEvent> EventFromProto(const v1::PromptEvent& from) {
  const int kind = static_cast<int>(from.kind()) - 1;
  if (kind < 0 || kind >= kEventKinds) {
    return absl::InvalidArgumentError(absl::StrCat("events: kind ", kind + 1));
  }
  return PromptEvent{.position = from.position(),
                     .kind = static_cast<PromptEvent::Kind>(kind),
                     .prompt = FromProto(from.prompt()),
                     .pairs = from.pairs()};
}

void ToProto(const PromptEvent& from, v1::PromptEvent* to) {
  to->set_position(from.position);
  to->set_kind(static_cast<v1::PromptEvent::Kind>(static_cast<int>(from.kind) + 1));
  ToProto(from.prompt, to->mutable_prompt());
  to->set_pairs(from.pairs);
}

// ---------------------------------------------------------------- records

std::string EncodeRecord(const LogRecord& record) {
  v1::ReplayLogRecord to;
  to.set_format_version(kFormatVersion);
  std::visit(RecordEncoder{to}, record);
  return to.SerializeAsString();
}

absl::StatusOr<LogRecord> DecodeRecord(absl::string_view bytes) {
  v1::ReplayLogRecord from;
  if (!from.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::DataLossError("log record: not a ReplayLogRecord");
  }
  DTRPO_RETURN_IF_ERROR(CheckFormat("log record", from.format_version()));
  using Record = v1::ReplayLogRecord;
  switch (from.fact_case()) {
    case Record::kJobOpened:
      return JobOpened{OptionsFromProto(from.job_opened())};
    case Record::kJobClosed:
      return JobClosed{};
    case Record::kPromptStored:
      return StoredFromProto(from.prompt_stored());
    case Record::kPromptWithoutPair:
      return PromptWithoutPair{FromProto(from.prompt_without_pair())};
    case Record::kBatchFormed: {
      const auto& formed = from.batch_formed();
      return BatchFormed{.batch = formed.batch(),
                         .items = {formed.items().begin(), formed.items().end()},
                         .last = formed.last()};
    }
    case Record::kItemsWithdrawn:
      return ItemsWithdrawn{ItemsOf(from.items_withdrawn())};
    case Record::kBatchesAcknowledged:
      return BatchesAcknowledged{from.batches_acknowledged()};
    case Record::kItemsDeleted:
      return ItemsDeleted{ItemsOf(from.items_deleted())};
    case Record::kVersionPublished:
      return VersionPublished{from.version_published()};
    case Record::kDataEnded:
      return DataEnded{};
    case Record::kExternalEnded:
      return KindEnded{from.external_ended()};
    case Record::kAttemptGranted:
      return AttemptGranted{from.attempt_granted()};
    case Record::kEventsDropped:
      return EventsDropped{from.events_dropped()};
    case Record::kEpochsForgotten:
      return EpochsForgotten{from.epochs_forgotten()};
    case Record::kPrioritiesUpdated: {
      const auto& updated = from.priorities_updated();
      return PrioritiesUpdated{
          .batch = updated.batch(),
          .first_entry = updated.first_entry(),
          .priorities = {updated.priorities().begin(), updated.priorities().end()}};
    }
    case Record::kItemsUsed:
      return ItemsUsed{ItemsOf(from.items_used())};
    case Record::kStartedOver:
      return StartedOver{OptionsFromProto(from.started_over())};
    case Record::FACT_NOT_SET:
      break;
  }
  return absl::DataLossError("log record: carries no fact that this program knows");
}

// ---------------------------------------------------------------- snapshots

namespace {

// Blocks that malloc maps and gives back: in small ones a snapshot of many items, of which nothing
// stays, would leave the heap several times as large as the items are.
google::protobuf::ArenaOptions LargeBlocks() {
  google::protobuf::ArenaOptions options;
  options.start_block_size = options.max_block_size = 4 << 20;
  return options;
}

}  // namespace

std::string EncodeSnapshot(const TableSnapshot& snapshot) {
  google::protobuf::Arena arena(LargeBlocks());
  v1::ReplayTableSnapshot& to =
      *google::protobuf::Arena::CreateMessage<v1::ReplayTableSnapshot>(&arena);
  to.set_format_version(kFormatVersion);
  ToProto(snapshot.options, to.mutable_options());
  to.set_inserted_items(snapshot.counters.inserted_items);
  to.set_inserted_prompts(snapshot.counters.inserted_prompts);
  to.set_no_pair_prompts(snapshot.counters.no_pair_prompts);
  to.set_evicted_items(snapshot.counters.evicted_items);
  to.set_consumed_items(snapshot.counters.consumed_items);
  to.set_next_item(snapshot.next_item);
  to.set_largest_prompt_bytes(snapshot.largest_prompt_bytes);
  to.set_highest_priority(snapshot.highest_priority);
  to.set_formed_batch(snapshot.formed_batch);
  to.set_acknowledged_batch(snapshot.acknowledged_batch);
  to.set_newest_version(snapshot.newest_version);
  to.set_attempt(snapshot.attempt);
  to.set_end_of_data(snapshot.end_of_data);
  to.set_external_ended(snapshot.external_ended);
  to.set_prompts_ended(snapshot.prompts_ended);
  to.set_last_formed(snapshot.last_formed);
  to.set_closed(snapshot.closed);
  for (const Item& item : snapshot.items) {
    auto* added = to.add_items();
    added->set_id(item.id);
    ToProto(item.prompt, added->mutable_prompt());
    added->set_version(item.version);
    added->set_size_bytes(item.size_bytes);
    added->set_uses(item.uses);
    added->set_unacknowledged(item.unacknowledged);
    added->set_priority(item.priority);
    added->set_shard(item.shard);
    added->set_body(item.body);
  }
  SetItems(snapshot.available, to.mutable_available());
  for (const Batch& batch : snapshot.batches) {
    auto* added = to.add_batches();
    added->set_number(batch.number);
    for (const BatchEntry& entry : batch.entries) {
      added->add_items(entry.item);
      added->add_use_indices(entry.use_index);
      added->add_priority_updated(entry.priority_updated);
    }
    added->set_last(batch.last);
  }
  for (const auto& [id, prompt] : snapshot.ledger.prompts()) {
    auto* added = to.add_prompts();
    ToProto(PromptKey{.epoch = id.first, .prompt_index = id.second, .attempt = prompt.attempt},
            added->mutable_key());
    added->set_state(static_cast<int>(prompt.state));
    added->set_pairs(prompt.pairs);
    added->set_left(prompt.left);
    added->set_used(prompt.used);
  }
  for (const PromptEvent& event : snapshot.ledger.events()) ToProto(event, to.add_events());
  to.set_last_event_position(snapshot.ledger.last_position());
  to.set_forgotten_below_epoch(snapshot.ledger.forgotten_below_epoch());
  return to.SerializeAsString();
}

absl::StatusOr<TableSnapshot> DecodeSnapshot(absl::string_view bytes) {
  google::protobuf::Arena arena(LargeBlocks());
  v1::ReplayTableSnapshot& from =
      *google::protobuf::Arena::CreateMessage<v1::ReplayTableSnapshot>(&arena);
  if (!from.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::DataLossError("snapshot: not a ReplayTableSnapshot");
  }
  DTRPO_RETURN_IF_ERROR(CheckFormat("snapshot", from.format_version()));
  TableSnapshot to = {.options = OptionsFromProto(from.options()),
                      .counters = {.inserted_items = from.inserted_items(),
                                   .inserted_prompts = from.inserted_prompts(),
                                   .no_pair_prompts = from.no_pair_prompts(),
                                   .evicted_items = from.evicted_items(),
                                   .consumed_items = from.consumed_items()},
                      .next_item = from.next_item(),
                      .largest_prompt_bytes = from.largest_prompt_bytes(),
                      .highest_priority = std::max(1.0, from.highest_priority()),
                      .formed_batch = from.formed_batch(),
                      .acknowledged_batch = from.acknowledged_batch(),
                      .newest_version = from.newest_version(),
                      .attempt = from.attempt(),
                      .end_of_data = from.end_of_data(),
                      .external_ended = from.external_ended(),
                      .prompts_ended = from.prompts_ended(),
                      .last_formed = from.last_formed(),
                      .closed = from.closed(),
                      .items = {},
                      .available = {from.available().begin(), from.available().end()},
                      .batches = {},
                      .ledger = {}};
  for (const auto& item : from.items()) {
    to.items.push_back({.id = item.id(),
                        .prompt = FromProto(item.prompt()),
                        .version = item.version(),
                        .size_bytes = item.size_bytes(),
                        .uses = item.uses(),
                        .unacknowledged = item.unacknowledged(),
                        .priority = item.priority(),
                        .shard = item.shard(),
                        .body = item.body()});
  }
  for (const auto& batch : from.batches()) {
    if (batch.items_size() != batch.use_indices_size() ||
        batch.items_size() != batch.priority_updated_size()) {
      return absl::DataLossError(
          absl::StrCat("snapshot: batch ", batch.number(), " has ", batch.items_size(), " items, ",
                       batch.use_indices_size(), " use indices and ", batch.priority_updated_size(),
                       " marks of updated priorities"));
    }
    Batch& added = to.batches.emplace_back(
        Batch{.number = batch.number(), .entries = {}, .last = batch.last()});
    for (int i = 0; i < batch.items_size(); ++i) {
      added.entries.push_back({.item = batch.items(i),
                               .use_index = batch.use_indices(i),
                               .priority_updated = batch.priority_updated(i)});
    }
  }
  DTRPO_RETURN_IF_ERROR(LedgerFromProto(from, &to.ledger));
  return to;
}

}  // namespace dtrpo::replay

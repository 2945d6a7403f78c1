// An insert of any bytes into a replay table: refused in words, or stored so that the log, the
// bodies and a snapshot give it back.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <utility>
#include <vector>

#include "common/wire/item_body.h"
#include "proto/dtrpo/v1/replay.pb.h"
#include "services/replay/inserted_items.h"
#include "services/replay/log_codec.h"
#include "services/replay/replay_table.h"

namespace dtrpo::replay {
namespace {

constexpr int32_t kVocabulary = 100;

void Must(bool holds, absl::string_view what) {
  if (holds) return;
  std::cerr << what << '\n';
  std::abort();
}

ReplayTable SmallTable() {
  absl::StatusOr<TableOptions> options = Complete({.pairs_per_batch = 2,
                                                   .publish_every = 1,
                                                   .max_staleness = 2,
                                                   .max_pairs_per_prompt = 2,
                                                   .total_steps = 100,
                                                   .selector = SelectorKind::kPrioritised,
                                                   .priority_exponent = 1,
                                                   .vocabulary_size = kVocabulary});
  Must(options.ok(), options.status().ToString());
  return ReplayTable(*options);
}

// As JobTable: what is decided is written to the log and applied.
void Take(ReplayTable& table, const LogRecords& records) {
  for (const LogRecord& record : records) {
    const absl::StatusOr<LogRecord> read = DecodeRecord(EncodeRecord(record));
    Must(read.ok(), "a record can't be read again");
    table.Apply(*read);
  }
}

void InsertOf(const v1::InsertRequest& request) {
  absl::StatusOr<std::vector<StoredPair>> pairs = InsertedItems(request, kVocabulary);
  if (!pairs.ok()) {
    Must(absl::IsInvalidArgument(pairs.status()), pairs.status().ToString());
    return;
  }
  std::vector<NewItem> items;
  for (const StoredPair& pair : *pairs) {
    Must(wire::DecodeItemBody(pair.body).ok(), "a body can't be read again");
    items.push_back({.version = pair.version,
                     .size_bytes = static_cast<int64_t>(pair.body.size()),
                     .priority = pair.priority});
  }
  ReplayTable table = SmallTable();
  const PromptKey key = {.epoch = request.epoch(),
                         .prompt_index = request.prompt_index(),
                         .attempt = request.prompt_attempt()};
  const absl::StatusOr<LogRecords> records = table.PlanInsert(key, items);
  if (!records.ok()) {
    Must(!absl::IsInternal(records.status()) && !absl::IsUnknown(records.status()),
         records.status().ToString());
    return;
  }
  Take(table, *records);
  Must(table.items() <= static_cast<int64_t>(items.size()), "more items than were brought");
  const absl::StatusOr<LogRecords> again = table.PlanInsert(key, items);
  Must(again.ok() && again->empty(), "a repeated insert isn't a duplicate");
  const absl::StatusOr<TableSnapshot> snapshot = DecodeSnapshot(EncodeSnapshot(table.ToSnapshot()));
  Must(snapshot.ok() && *snapshot == table.ToSnapshot(), "a snapshot isn't what it was made of");
  if (const auto batch = table.PlanNextBatch(); batch.ok()) Take(table, *batch);
}

}  // namespace
}  // namespace dtrpo::replay

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  dtrpo::v1::InsertRequest request;
  if (request.ParseFromArray(data, static_cast<int>(size))) dtrpo::replay::InsertOf(request);
  return 0;
}

// Drives a ReplayTable as its shell does, decision by decision, and keeps the log as bytes. Not
// thread-safe.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/replay/log_codec.h"
#include "services/replay/replay_table.h"

namespace dtrpo::replay {

// A small job: batches of 2, a version per step, S = 1, room to spare.
inline TableOptions SmallJob() {
  return {.pairs_per_batch = 2,
          .publish_every = 1,
          .max_staleness = 1,
          .max_uses = 1,
          .max_items = 1000,
          .max_bytes = 1 << 20,
          .max_pairs_per_prompt = 2,
          .total_steps = 100,
          .checkpoint_every = 10,
          .prefetch_batches = 2,
          .first_batch = 1};
}

class TableHarness {
 public:
  explicit TableHarness(const TableOptions& options = SmallJob())
      : table_(std::make_unique<ReplayTable>(*Complete(options))) {
    log_.push_back(EncodeRecord(JobOpened{table_->options()}));
  }

  const ReplayTable& table() const { return *table_; }
  int64_t log_size() const { return static_cast<int64_t>(log_.size()); }

  // True: stored; false: a duplicate.
  absl::StatusOr<bool> Insert(PromptKey prompt, std::vector<NewItem> items) {
    DTRPO_ASSIGN_OR_RETURN(LogRecords records, table_->PlanInsert(prompt, items));
    Commit(records);
    return !records.empty();
  }
  // One prompt of epoch 0 with one pair of 10 bytes.
  absl::StatusOr<bool> InsertOne(int64_t prompt_index, int64_t version, int32_t attempt = 0) {
    return Insert({0, prompt_index, attempt}, {{.version = version, .size_bytes = 10}});
  }

  // What a learner gets for batch n; forms what is missing before it.
  absl::StatusOr<Batch> GetBatch(int64_t n, int32_t attempt = 0) {
    DTRPO_ASSIGN_OR_RETURN(LogRecords granted, table_->PlanAttempt(attempt));
    Commit(granted);
    DTRPO_RETURN_IF_ERROR(table_->CheckBatchNumber(n));
    while (table_->formed_batch() < n) {
      DTRPO_ASSIGN_OR_RETURN(LogRecords formed, table_->PlanNextBatch());
      Commit(formed);
    }
    return table_->batch(n);
  }
  // Only the items, in order.
  absl::StatusOr<std::vector<ItemId>> GetItems(int64_t n, int32_t attempt = 0) {
    DTRPO_ASSIGN_OR_RETURN(Batch batch, GetBatch(n, attempt));
    std::vector<ItemId> items;
    for (const BatchEntry& entry : batch.entries) items.push_back(entry.item);
    return items;
  }

  absl::Status Acknowledge(int64_t up_to_batch, int32_t attempt = 0) {
    DTRPO_ASSIGN_OR_RETURN(LogRecords granted, table_->PlanAttempt(attempt));
    Commit(granted);
    DTRPO_ASSIGN_OR_RETURN(LogRecords records, table_->PlanAcknowledge(up_to_batch));
    Commit(records);
    return absl::OkStatus();
  }

  // True: taken; false: they were before.
  absl::StatusOr<bool> UpdatePriorities(int64_t n, const std::vector<double>& priorities) {
    DTRPO_ASSIGN_OR_RETURN(LogRecords records, table_->PlanPriorities(n, 0, 1, priorities));
    Commit(records);
    return !records.empty();
  }

  void Mark(int64_t newest_version, bool end_of_data = false, int64_t forget_epochs_below = 0) {
    Commit(table_->PlanMarks(newest_version, end_of_data, forget_epochs_below));
  }
  void EndKinds(bool external, bool prompts) { Commit(table_->PlanKindEnds(external, prompts)); }
  void DropEvents(int64_t up_to) { Commit(table_->PlanDropEvents(up_to)); }
  void Close() { Commit(table_->PlanClose()); }

  // Kinds and prompts of all events so far, as "stored 0/3/0".
  std::vector<std::string> Events() const {
    static constexpr const char* kNames[] = {"stored", "no_pair", "consumed", "evicted"};
    std::vector<std::string> events;
    for (const PromptEvent& event : table_->ledger().EventsAfter(0, 1 << 20)) {
      events.push_back(absl::StrCat(kNames[static_cast<int>(event.kind)], " ", event.prompt.epoch,
                                    "/", event.prompt.prompt_index, "/", event.prompt.attempt));
    }
    return events;
  }

  // The table as a restart finds it: from nothing but the log's bytes.
  ReplayTable Replayed() const {
    LogRecord opened = *DecodeRecord(log_.front());
    ReplayTable table(std::get<JobOpened>(opened).options);
    for (size_t i = 1; i < log_.size(); ++i) table.Apply(*DecodeRecord(log_[i]));
    return table;
  }
  // From now on the table is one that was rebuilt.
  void Restart() { table_ = std::make_unique<ReplayTable>(Replayed()); }

 private:
  void Commit(const LogRecords& records) {
    for (const LogRecord& record : records) {
      log_.push_back(EncodeRecord(record));
      table_->Apply(record);
    }
  }

  std::unique_ptr<ReplayTable> table_;
  std::vector<std::string> log_;
};

inline absl::Status StatusOf(const absl::Status& status) { return status; }
template <typename T>
absl::Status StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

// A Status or StatusOr with that code and reason.
MATCHER_P2(Refused, code, reason, "") {
  const absl::Status status = StatusOf(arg);
  *result_listener << status << " reason '" << base::GetReason(status) << "'";
  return status.code() == code && base::GetReason(status) == reason;
}

inline std::vector<NewItem> Pairs(int count, int64_t version, int64_t size_bytes = 10) {
  return std::vector<NewItem>(count, {.version = version, .size_bytes = size_bytes});
}

// One prompt of epoch 0 each, with one pair.
inline void Fill(TableHarness& harness, int64_t first_prompt, int count, int64_t version) {
  for (int64_t i = 0; i < count; ++i) {
    ASSERT_TRUE(*harness.InsertOne(first_prompt + i, version));
  }
}

}  // namespace dtrpo::replay

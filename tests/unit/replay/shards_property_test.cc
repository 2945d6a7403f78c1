// One table that sequences and two that keep bodies, under random operations in which every party
// may die between any two steps.
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/philox.h"
#include "common/wire/replay_shards.h"
#include "gtest/gtest.h"
#include "services/replay/log_codec.h"
#include "services/replay/replay_table.h"

namespace dtrpo::replay {
namespace {

constexpr int32_t kShards = 3;
constexpr int64_t kPrompts = 120;

class ShardedTables {
 public:
  explicit ShardedTables(uint64_t seed) : random_(seed, 1) {
    for (int32_t shard = 0; shard < kShards; ++shard) {
      auto options = Complete({.pairs_per_batch = 4,
                               .publish_every = 1,
                               .max_staleness = 2,
                               .max_uses = 2,
                               .max_items = 60,
                               .seed = seed,
                               .max_pairs_per_prompt = 3,
                               .total_steps = 1000,
                               .checkpoint_every = 3,
                               .selector = SelectorKind::kUniform,
                               .shards = kShards,
                               .shard = shard});
      EXPECT_TRUE(options.ok()) << options.status();
      tables_.push_back(std::make_unique<ReplayTable>(*options));
    }
  }

  void Step() {
    switch (random_.UniformInt(8)) {
      case 0:
        Restart(random_.UniformInt(kShards));
        break;
      case 1:
        Form();
        break;
      case 2:
        Acknowledge(tables_[0]->acknowledged_batch() +
                    static_cast<int64_t>(random_.UniformInt(1 + tables_[0]->formed_batch() -
                                                            tables_[0]->acknowledged_batch())));
        break;
      case 3:
        Poll(/*dies=*/random_.UniformInt(3) == 0);
        break;
      default:
        Insert();
    }
    CheckBodies();
  }

  // Everything is taken, and then nothing is kept anywhere.
  void Finish() {
    Commit(0, tables_[0]->PlanMarks(0, /*end_of_data=*/true, 0));
    while (Form()) Acknowledge(tables_[0]->formed_batch());
    Acknowledge(tables_[0]->formed_batch());
    Poll(/*dies=*/false);
    for (int32_t shard = 1; shard < kShards; ++shard) Commit(shard, tables_[shard]->PlanForget(1));
    int64_t left = 0;
    for (const auto& table : tables_) left += table->items() + table->bytes();
    EXPECT_EQ(left, 0);
    const TableCounters& counters = tables_[0]->counters();
    EXPECT_EQ(counters.inserted_items, counters.consumed_items + counters.evicted_items);
    EXPECT_GT(counters.consumed_items, 0);
    EXPECT_GT(counters.evicted_items, 0);
  }

 private:
  void Commit(size_t shard, const LogRecords& records) {
    for (const LogRecord& record : records) {
      tables_[shard]->Apply(*DecodeRecord(EncodeRecord(record)));
    }
  }
  void Restart(size_t shard) {
    const std::string bytes = EncodeSnapshot(tables_[shard]->ToSnapshot());
    tables_[shard] = std::make_unique<ReplayTable>(*DecodeSnapshot(bytes));
    EXPECT_EQ(EncodeSnapshot(tables_[shard]->ToSnapshot()), bytes);
  }

  // A prompt that is new, known, evicted or ended; its writer may die after staging.
  void Insert() {
    PromptKey prompt = {.prompt_index = static_cast<int64_t>(random_.UniformInt(kPrompts))};
    prompt.attempt = attempts_[prompt.prompt_index];
    const int32_t shard = wire::ShardOfPrompt("job", 0, prompt.prompt_index, kShards);
    const int64_t newest = tables_[0]->PolicyVersion(tables_[0]->formed_batch() + 1);
    std::vector<NewItem> items(1 + random_.UniformInt(3));
    for (NewItem& item : items) {
      item.version = std::max<int64_t>(0, newest - static_cast<int64_t>(random_.UniformInt(4)));
      item.size_bytes = 1 + static_cast<int64_t>(random_.UniformInt(100));
    }
    Elsewhere elsewhere;
    if (shard > 0) {
      const auto staged = tables_[shard]->PlanStage(prompt, items);
      ASSERT_TRUE(staged.ok()) << staged.status();
      Commit(shard, *staged);
      if (random_.UniformInt(5) == 0) return;
      items.clear();
      elsewhere.shard = shard;
      for (const Item& item : tables_[shard]->StagedItems(prompt)) {
        if (items.empty()) elsewhere.first_body = item.id;
        items.push_back({.version = item.version, .size_bytes = item.size_bytes});
      }
    }
    const auto records = tables_[0]->PlanInsert(prompt, items, elsewhere);
    if (!records.ok()) {
      EXPECT_TRUE(absl::IsResourceExhausted(records.status())) << records.status();
      return;
    }
    Commit(0, *records);
  }

  bool Form() {
    const auto records = tables_[0]->PlanNextBatch();
    if (records.ok()) Commit(0, *records);
    return records.ok();
  }
  void Acknowledge(int64_t up_to) {
    const auto records = tables_[0]->PlanAcknowledge(up_to);
    ASSERT_TRUE(records.ok()) << records.status();
    Commit(0, *records);
  }

  // As the coordinator: settle, then note, then acknowledge. It may die before it notes.
  void Poll(bool dies) {
    const std::vector<PromptEvent> events = tables_[0]->ledger().EventsAfter(noted_, 1000);
    for (int32_t shard = 1; shard < kShards; ++shard) {
      std::vector<PromptEvent> own;
      for (const PromptEvent& event : events) {
        if (wire::ShardOfPrompt("job", 0, event.prompt.prompt_index, kShards) == shard) {
          own.push_back(event);
        }
      }
      Commit(shard, tables_[shard]->PlanSettle(own));
    }
    if (dies || events.empty()) return;
    for (const PromptEvent& event : events) {
      const bool evicted = event.kind == PromptEvent::Kind::kEvicted;
      if (evicted) attempts_[event.prompt.prompt_index] = event.prompt.attempt + 1;
    }
    noted_ = events.back().position;
    Commit(0, tables_[0]->PlanDropEvents(noted_));
  }

  // Whatever the sequencer may be asked for is where it says, of the same prompt, and only once.
  void CheckBodies() {
    std::set<std::pair<int32_t, ItemId>> places;
    for (const Item& item : tables_[0]->ItemsAfter(0, 1000)) {
      if (item.shard == 0) continue;
      EXPECT_TRUE(places.emplace(item.shard, item.body).second) << item.id;
      const Item* kept = tables_[item.shard]->FindItem(item.body);
      ASSERT_NE(kept, nullptr) << "item " << item.id << " has no body";
      EXPECT_EQ(kept->prompt, item.prompt);
      EXPECT_EQ(kept->size_bytes, item.size_bytes);
    }
  }

  base::CounterRng random_;
  std::vector<std::unique_ptr<ReplayTable>> tables_;
  std::map<int64_t, int32_t> attempts_;  // as the coordinator knows them
  int64_t noted_ = 0;
};

TEST(ShardsPropertyTest, WhatABatchRefersToIsKeptAndWhatEndedIsNot) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    ShardedTables tables(seed);
    for (int i = 0; i < 1500 && !::testing::Test::HasFailure(); ++i) tables.Step();
    tables.Finish();
    if (::testing::Test::HasFailure()) break;
  }
}

}  // namespace
}  // namespace dtrpo::replay

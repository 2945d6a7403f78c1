// Random operations against a ReplayTable, checked with a model that is too simple to be wrong: it
// remembers every batch it ever saw and what it inserted, and checks the promises of replay_table.h
// from the outside. A failure prints the seed; the same seed fails again.
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/philox.h"
#include "gtest/gtest.h"
#include "services/replay/replay_table.h"
#include "tests/unit/replay/table_harness.h"

namespace dtrpo::replay {
namespace {

class RandomRun {
 public:
  RandomRun(uint64_t seed, const TableOptions& options)
      : random_(seed, 0), options_(*Complete(options)), harness_(options) {}

  void Step() {
    switch (random_.UniformInt(13)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
        return InsertNew();
      case 5:
        return InsertAgain();
      case 6:
      case 7:
      case 8:
        return GetBatch();
      case 9:
        return Acknowledge();
      case 10:
        return RestartTable();
      case 11:
        return UpdatePriorities();
      default:
        return ReadEvents();
    }
  }

  void Finish() {
    harness_.Mark(0, /*end_of_data=*/true);
    // Take all that is left; every prompt must end in exactly one state.
    for (int64_t n = table().acknowledged_batch() + 1; n <= options_.total_steps; ++n) {
      absl::StatusOr<Batch> batch = harness_.GetBatch(n, attempt_);
      if (!batch.ok()) {
        ASSERT_EQ(batch.status().code(), absl::StatusCode::kOutOfRange) << batch.status();
        break;
      }
      CheckBatch(*batch);
      ASSERT_TRUE(harness_.Acknowledge(n, attempt_).ok());
    }
    if (table().formed_batch() == options_.total_steps) return;  // the job ended before the data
    EXPECT_EQ(table().items(), 0);
    EXPECT_EQ(table().bytes(), 0);
    ReadEvents();
    for (const auto& [prompt, state] : prompts_) {
      EXPECT_TRUE(!state.inserted || state.kind != PromptEvent::Kind::kStored)
          << "prompt " << prompt.first << "/" << prompt.second << " never ended";
    }
    const TableCounters& counters = table().counters();
    EXPECT_EQ(counters.inserted_items, counters.consumed_items + counters.evicted_items);
  }

 private:
  struct PromptModel {
    int32_t attempt = 0;
    PromptEvent::Kind kind = PromptEvent::Kind::kStored;  // as the events tell
    bool inserted = false;                                // in this attempt
  };

  const ReplayTable& table() const { return harness_.table(); }
  int64_t Random(int64_t end) { return static_cast<int64_t>(random_.UniformInt(end)); }

  void InsertNew() {
    ReadEvents();
    // Mostly new prompts; else one whose items were evicted.
    std::pair<int64_t, int64_t> prompt = {Random(2), Random(200)};
    PromptModel& model = prompts_[prompt];
    if (model.inserted && model.kind == PromptEvent::Kind::kEvicted) {
      ++model.attempt;
      model.inserted = false;
    }
    const PromptKey key = {prompt.first, prompt.second, model.attempt};
    std::vector<NewItem> items(Random(options_.max_pairs_per_prompt + 1));
    const int64_t newest = table().PolicyVersion(table().formed_batch() + 1);
    for (NewItem& item : items) {
      item.version = Random(8) == 0 ? -1 : std::max<int64_t>(0, newest + 1 - Random(5));
      item.size_bytes = 1 + Random(50);
      item.priority = static_cast<double>(Random(4));
    }
    const ItemId first = table().next_item();
    absl::StatusOr<bool> stored = harness_.Insert(key, items);
    if (!stored.ok()) {
      ASSERT_EQ(stored.status().code(), absl::StatusCode::kResourceExhausted) << stored.status();
      ASSERT_FALSE(model.inserted) << "a duplicate was refused";
      return;
    }
    ASSERT_EQ(*stored, !model.inserted);
    if (!*stored) return;
    model.inserted = true;
    model.kind = items.empty() ? PromptEvent::Kind::kNoPair : PromptEvent::Kind::kStored;
    for (size_t i = 0; i < items.size(); ++i) versions_[first + i] = items[i].version;
    inserted_ += static_cast<int64_t>(items.size());
    ASSERT_LE(table().items(), options_.max_items);
    ASSERT_LE(table().bytes(), options_.max_bytes);
  }

  void InsertAgain() {
    if (prompts_.empty()) return;
    auto it = std::next(prompts_.begin(), Random(prompts_.size()));
    if (!it->second.inserted) return;
    const int64_t logged = harness_.log_size();
    absl::StatusOr<bool> stored = harness_.Insert(
        {it->first.first, it->first.second, it->second.attempt}, {{.version = 0, .size_bytes = 1}});
    ASSERT_TRUE(stored.ok()) << stored.status();
    ASSERT_FALSE(*stored);
    ASSERT_EQ(harness_.log_size(), logged);
  }

  void GetBatch() {
    if (Random(10) == 0) ++attempt_;
    const int64_t n = table().acknowledged_batch() + 1 + Random(4);
    absl::StatusOr<Batch> batch = harness_.GetBatch(n, attempt_);
    if (batch.ok()) CheckBatch(*batch);
  }

  void CheckBatch(Batch batch) {
    for (BatchEntry& entry : batch.entries) entry.priority_updated = false;
    auto [seen, is_new] = batches_.emplace(batch.number, batch);
    ASSERT_EQ(seen->second, batch) << "batch " << batch.number << " changed";
    if (!is_new) return;
    std::set<ItemId> distinct;
    for (const BatchEntry& entry : batch.entries) {
      ASSERT_TRUE(distinct.insert(entry.item).second) << "twice in a batch";
      ASSERT_TRUE(versions_.contains(entry.item)) << "item " << entry.item << " from nowhere";
      const int64_t version = versions_[entry.item];
      const int64_t policy = (batch.number - 1) / options_.publish_every;
      ASSERT_TRUE(version == -1 || policy - version <= options_.max_staleness)
          << "item " << entry.item << " is stale in batch " << batch.number;
      ++draws_;
      ASSERT_TRUE(use_indices_[entry.item].insert(entry.use_index).second) << "one use twice";
      ASSERT_LE(use_indices_[entry.item].size(), static_cast<size_t>(options_.max_uses));
      ASSERT_LT(entry.use_index, options_.max_uses);
    }
    if (options_.samples_per_insert > 0) {
      ASSERT_LE(static_cast<double>(draws_),
                options_.samples_per_insert * static_cast<double>(inserted_));
    }
    if (!batch.last) {
      ASSERT_EQ(batch.entries.size(), static_cast<size_t>(options_.pairs_per_batch));
    }
  }

  void Acknowledge() {
    const int64_t ahead = table().formed_batch() - table().acknowledged_batch();
    ASSERT_TRUE(
        harness_.Acknowledge(table().acknowledged_batch() + Random(ahead + 1), attempt_).ok());
  }

  // Taken once; a repetition logs nothing.
  void UpdatePriorities() {
    const int64_t n = table().acknowledged_batch() + Random(4);
    if (n < 1 || n > table().formed_batch()) return;
    const int64_t entries =
        n > table().acknowledged_batch() ? std::ssize(table().batch(n).entries) : 1;
    std::vector<double> priorities(entries);
    for (double& priority : priorities) priority = static_cast<double>(Random(1000)) / 100;
    const bool expected = n > table().acknowledged_batch() && updated_.insert(n).second;
    ASSERT_EQ(*harness_.UpdatePriorities(n, priorities), expected);
    ASSERT_FALSE(*harness_.UpdatePriorities(n, priorities));
  }

  // The log alone gives the same state, and so does a snapshot of it.
  void RestartTable() {
    const TableSnapshot before = table().ToSnapshot();
    harness_.Restart();
    ASSERT_EQ(table().ToSnapshot(), before);
    ASSERT_EQ(*DecodeSnapshot(EncodeSnapshot(before)), before);
    ASSERT_EQ(ReplayTable(before).ToSnapshot(), before);
  }

  void ReadEvents() {
    for (const PromptEvent& event : table().ledger().EventsAfter(events_read_, 1 << 20)) {
      ASSERT_EQ(event.position, ++events_read_);
      PromptModel& model = prompts_[{event.prompt.epoch, event.prompt.prompt_index}];
      ASSERT_EQ(event.prompt.attempt, model.attempt);
      const bool first =
          event.kind == PromptEvent::Kind::kStored || event.kind == PromptEvent::Kind::kNoPair;
      if (!first) {
        ASSERT_EQ(model.kind, PromptEvent::Kind::kStored) << "a prompt ended twice";
        model.kind = event.kind;
      }
    }
  }

  base::CounterRng random_;
  const TableOptions options_;
  TableHarness harness_;
  int32_t attempt_ = 0;
  int64_t events_read_ = 0;
  std::map<std::pair<int64_t, int64_t>, PromptModel> prompts_;
  std::map<ItemId, int64_t> versions_;
  std::map<int64_t, Batch> batches_;  // without the marks of updated priorities
  std::set<int64_t> updated_;         // batches whose priorities were told
  int64_t inserted_ = 0;
  int64_t draws_ = 0;
  std::map<ItemId, std::set<int32_t>> use_indices_;
};

class ReplayTablePropertyTest : public ::testing::TestWithParam<uint64_t> {};

// Invariants 7 (batch n is batch n for ever), 8 (no item is in a batch that it doesn't fit) and 13
// (every prompt ends in exactly one state).
TEST_P(ReplayTablePropertyTest, KeepsItsPromisesUnderRandomOperations) {
  const uint64_t seed = GetParam();
  base::CounterRng shape(seed, 1);
  TableOptions options = {.pairs_per_batch = 1 + static_cast<int32_t>(shape.UniformInt(5)),
                          .publish_every = 1 + static_cast<int32_t>(shape.UniformInt(3)),
                          .max_staleness = static_cast<int32_t>(shape.UniformInt(4)),
                          .max_uses = 1 + static_cast<int32_t>(shape.UniformInt(3)),
                          .max_bytes = shape.UniformInt(2) == 0 ? 0 : 2000,
                          .max_pairs_per_prompt = 3,
                          .total_steps = 60,
                          .checkpoint_every = 1 + static_cast<int32_t>(shape.UniformInt(6))};
  options.selector = static_cast<SelectorKind>(seed % 4);
  options.priority_exponent = 0.5 * static_cast<double>(shape.UniformInt(5));
  options.priority = static_cast<PrioritySource>(shape.UniformInt(2));
  options.seed = seed;
  if (shape.UniformInt(2) == 0) {
    options.samples_per_insert = 1 + shape.Uniform01() * (options.max_uses - 1);
  }
  if (options.max_bytes == 0) {
    options.min_items = static_cast<int64_t>(shape.UniformInt(
        options.pairs_per_batch * (options.publish_every * options.max_staleness + 1) + 1));
  }
  RandomRun run(seed, options);
  for (int i = 0; i < 600; ++i) {
    run.Step();
    ASSERT_FALSE(HasFatalFailure()) << "seed " << seed << ", operation " << i;
  }
  run.Finish();
}

INSTANTIATE_TEST_SUITE_P(Seeds, ReplayTablePropertyTest, ::testing::Range<uint64_t>(1, 41));

}  // namespace
}  // namespace dtrpo::replay

// Jobs with imported pairs, alone and beside pairs of prompts: how many of each a batch has, what
// happens when one kind ends, and that neither takes the other's room.
#include <gmock/gmock.h>

#include <set>
#include <string>
#include <vector>

#include "common/base/philox.h"
#include "common/job/job_limits.h"
#include "services/replay/mixed_selector.h"
#include "tests/unit/replay/table_harness.h"

namespace dtrpo::replay {
namespace {

using ::testing::ElementsAre;

constexpr int64_t kExternal = job::kFirstExternalPrompt;

// Batches of 4, one of them imported unless said otherwise.
TableOptions Mixed(int32_t external = 1) {
  TableOptions options = SmallJob();
  options.pairs_per_batch = 4;
  options.external_pairs_per_batch = external;
  options.max_staleness = 5;
  return options;
}

absl::StatusOr<bool> Import(TableHarness& harness, int64_t index) {
  return harness.InsertOne(kExternal + index, /*version=*/-1);
}
void ImportMany(TableHarness& harness, int64_t first, int count) {
  for (int64_t i = 0; i < count; ++i) ASSERT_TRUE(*Import(harness, first + i));
}

// "eppp": which of a batch's items are imported.
std::string Kinds(const TableHarness& harness, const Batch& batch) {
  std::string kinds;
  for (const BatchEntry& entry : batch.entries) {
    kinds += harness.table().FindItem(entry.item)->version < 0 ? 'e' : 'p';
  }
  return kinds;
}

TEST(MixedBatchesTest, EachBatchHasItsShareSpreadOverIt) {
  TableHarness harness(Mixed(2));
  ImportMany(harness, 0, 4);
  Fill(harness, 0, 4, /*version=*/0);
  EXPECT_EQ(Kinds(harness, *harness.GetBatch(1)), "pepe");
  EXPECT_EQ(Kinds(harness, *harness.GetBatch(2)), "pepe");
  TableHarness one(Mixed(1));
  ImportMany(one, 0, 1);
  Fill(one, 0, 3, 0);
  EXPECT_EQ(Kinds(one, *one.GetBatch(1)), "pppe");
}

TEST(MixedBatchesTest, ABatchWaitsForTheKindThatItLacks) {
  TableHarness harness(Mixed());
  Fill(harness, 0, 8, 0);
  EXPECT_THAT(harness.GetBatch(1), Refused(absl::StatusCode::kUnavailable, "not_enough_items"));
  ImportMany(harness, 0, 1);
  EXPECT_TRUE(harness.GetBatch(1).ok());
  TableHarness other(Mixed());
  ImportMany(other, 0, 4);
  Fill(other, 0, 2, 0);
  EXPECT_THAT(other.GetBatch(1), Refused(absl::StatusCode::kUnavailable, "not_enough_items"));
}

TEST(MixedBatchesTest, OnceOneKindHasEndedTheOtherFillsItsPlace) {
  TableHarness harness(Mixed(2));
  ImportMany(harness, 0, 3);
  Fill(harness, 0, 9, 0);
  EXPECT_EQ(Kinds(harness, *harness.GetBatch(1)), "pepe");
  harness.EndKinds(/*external=*/true, /*prompts=*/false);
  EXPECT_EQ(Kinds(harness, *harness.GetBatch(2)), "pppe");  // the last imported one
  EXPECT_EQ(Kinds(harness, *harness.GetBatch(3)), "pppp");
  EXPECT_THAT(harness.GetBatch(4), Refused(absl::StatusCode::kUnavailable, "not_enough_items"));

  TableHarness imported(Mixed(1));
  ImportMany(imported, 0, 4);
  Fill(imported, 0, 4, 0);
  EXPECT_EQ(Kinds(imported, *imported.GetBatch(1)), "pppe");
  imported.EndKinds(false, true);
  EXPECT_EQ(Kinds(imported, *imported.GetBatch(2)), "peee");
}

TEST(MixedBatchesTest, TheEndOfBothGivesAShortLastBatch) {
  TableHarness harness(Mixed(1));
  ImportMany(harness, 0, 3);
  Fill(harness, 0, 4, 0);
  harness.EndKinds(true, true);
  harness.Mark(0, /*end_of_data=*/true);
  EXPECT_EQ(Kinds(harness, *harness.GetBatch(1)), "pppe");
  const Batch last = *harness.GetBatch(2);
  EXPECT_EQ(Kinds(harness, last), "pee");
  EXPECT_TRUE(last.last);
  EXPECT_THAT(harness.GetBatch(3), Refused(absl::StatusCode::kOutOfRange, "end_of_data"));
}

TEST(MixedBatchesTest, ImportedPairsAreLetInForTheNextFewBatchesOnly) {
  TableHarness harness(Mixed(1));
  ImportMany(harness, 0, job::kExternalBatchesAhead);
  EXPECT_THAT(Import(harness, 100), Refused(absl::StatusCode::kResourceExhausted, "replay_full"));
  EXPECT_FALSE(*Import(harness, 0));  // a repeated one still is a duplicate
  Fill(harness, 0, 3, 0);             // prompts have their room
  ASSERT_TRUE(harness.GetBatch(1).ok());
  EXPECT_TRUE(*Import(harness, 100));

  TableHarness alone(Mixed(4));
  ImportMany(alone, 0, 4 * job::kExternalBatchesAhead);
  EXPECT_THAT(Import(alone, 100), Refused(absl::StatusCode::kResourceExhausted, "replay_full"));
}

TEST(MixedBatchesTest, NoPairIsLetInThatNoBatchWillTake) {
  TableOptions options = Mixed(1);
  options.total_steps = 2;
  TableHarness harness(options);
  ImportMany(harness, 0, 2);
  EXPECT_THAT(Import(harness, 2), Refused(absl::StatusCode::kResourceExhausted, "replay_full"));
  Fill(harness, 0, 6, 0);
  EXPECT_THAT(harness.InsertOne(6, 0),
              Refused(absl::StatusCode::kResourceExhausted, "replay_full"));
  ASSERT_TRUE(harness.GetBatch(2).ok());
  ASSERT_TRUE(harness.Acknowledge(2).ok());
  EXPECT_EQ(harness.table().items(), 0);
}

// Under random inserts of both kinds, restarts and acknowledgements: the share is kept in every
// batch while both come, each pair is in one batch, and a restart changes nothing.
TEST(MixedBatchesTest, TheShareIsKeptInEachBatchWhateverHappens) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    base::CounterRng random(seed, 0);
    const int32_t external = 1 + static_cast<int32_t>(random.UniformInt(3));
    TableOptions options = Mixed(external);
    options.selector = static_cast<SelectorKind>(random.UniformInt(4));
    options.seed = seed;
    options.total_steps = 30;
    options.max_items = 0;
    TableHarness harness(options);
    std::set<ItemId> seen;
    int64_t imported = 0, prompts = 0, batches = 0;
    for (int i = 0; i < 2000 && batches < options.total_steps; ++i) {
      const uint64_t what = random.UniformInt(10);
      if (what < 4) {
        const auto stored = Import(harness, imported);
        imported += stored.ok();
      } else if (what < 7) {
        // As admission has it: no more than the next batches take.
        const bool admitted = prompts < (batches + 2) * (4 - external);
        if (admitted) prompts += harness.InsertOne(prompts, harness.table().newest_version()).ok();
      } else if (what == 7) {
        harness.Restart();
      } else if (what == 8) {
        ASSERT_TRUE(harness.Acknowledge(batches).ok());
      } else {
        const auto batch = harness.GetBatch(batches + 1);
        if (!batch.ok()) {
          ASSERT_TRUE(absl::IsUnavailable(batch.status())) << batch.status();
          continue;
        }
        ++batches;
        int32_t of_file = 0;
        for (const char kind : Kinds(harness, *batch)) of_file += kind == 'e';
        ASSERT_EQ(of_file, external) << "seed " << seed << " batch " << batches;
        for (const BatchEntry& entry : batch->entries) ASSERT_TRUE(seen.insert(entry.item).second);
        harness.Mark(harness.table().PolicyVersion(batches + 1));
      }
    }
    EXPECT_EQ(batches, options.total_steps) << "seed " << seed;
  }
}

TEST(MixedBatchesTest, WhatEndedIsRememberedByLogAndSnapshot) {
  TableHarness harness(Mixed(2));
  ImportMany(harness, 0, 1);
  Fill(harness, 0, 3, 0);
  harness.EndKinds(true, false);
  const TableSnapshot snapshot = harness.table().ToSnapshot();
  EXPECT_TRUE(snapshot.external_ended);
  EXPECT_FALSE(snapshot.prompts_ended);
  const auto decoded = DecodeSnapshot(EncodeSnapshot(snapshot));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, snapshot);
  EXPECT_EQ(harness.Replayed().ToSnapshot(), snapshot);
  const ReplayTable restored(*decoded);
  EXPECT_TRUE(restored.PlanNextBatch().ok());
}

TEST(MixedBatchesTest, OptionsNameAShareOutsideTheBatch) {
  EXPECT_THAT(std::string(Complete(Mixed(5)).status().message()),
              ::testing::HasSubstr("external_pairs_per_batch"));
  EXPECT_TRUE(Complete(Mixed(4)).ok());
  EXPECT_THAT(MakeSelector(*Complete(Mixed(4)))->Items(), ElementsAre());
}

}  // namespace
}  // namespace dtrpo::replay

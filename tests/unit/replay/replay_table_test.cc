#include "services/replay/replay_table.h"

#include <string>

#include "common/base/retry_after.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/replay/batch_slice.h"
#include "tests/unit/replay/table_harness.h"

namespace dtrpo::replay {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// ---------------------------------------------------------------- inserts

TEST(ReplayTableTest, ARepeatedInsertStoresNothing) {
  TableHarness harness;
  EXPECT_TRUE(*harness.Insert({0, 7, 0}, Pairs(2, 0)));
  EXPECT_FALSE(*harness.Insert({0, 7, 0}, Pairs(2, 0)));
  EXPECT_FALSE(*harness.Insert({0, 7, 0}, Pairs(1, 0)));  // whatever it carries
  EXPECT_FALSE(*harness.Insert({0, 7, 0}, {}));
  EXPECT_EQ(harness.table().items(), 2);
  EXPECT_TRUE(*harness.Insert({1, 7, 0}, Pairs(1, 0)));  // another epoch is another prompt
  EXPECT_THAT(harness.Events(), ElementsAre("stored 0/7/0", "stored 1/7/0"));
}

TEST(ReplayTableTest, KeysOutliveTheirItems) {
  TableHarness harness;
  Fill(harness, 0, 2, 0);
  ASSERT_TRUE(harness.GetBatch(1).ok());
  ASSERT_TRUE(harness.Acknowledge(1).ok());
  EXPECT_EQ(harness.table().items(), 0);
  EXPECT_FALSE(*harness.InsertOne(0, 0));
}

TEST(ReplayTableTest, APromptWithoutAPairIsFinal) {
  TableHarness harness;
  EXPECT_TRUE(*harness.Insert({0, 3, 0}, {}));
  EXPECT_FALSE(*harness.Insert({0, 3, 0}, Pairs(1, 0)));
  EXPECT_THAT(harness.Insert({0, 3, 1}, Pairs(1, 0)),
              Refused(absl::StatusCode::kFailedPrecondition, "prompt_not_evicted"));
  EXPECT_THAT(harness.Events(), ElementsAre("no_pair 0/3/0"));
  EXPECT_EQ(harness.table().counters().no_pair_prompts, 1);
}

TEST(ReplayTableTest, TheAttemptRisesOnlyAfterAnEviction) {
  TableHarness harness;  // B = 2, S = 1
  ASSERT_TRUE(*harness.InsertOne(9, 0));
  EXPECT_THAT(harness.InsertOne(9, 0, 1),
              Refused(absl::StatusCode::kFailedPrecondition, "prompt_not_evicted"));
  // Prompt 9 waits first in line, so it is used by batch 1 and never evicted; prompt 20 is late.
  Fill(harness, 10, 3, 0);
  ASSERT_TRUE(harness.GetBatch(2).ok());   // uses all four; V(3) = 2
  ASSERT_TRUE(*harness.InsertOne(20, 0));  // lag 2 > 1: gone at once
  EXPECT_FALSE(*harness.InsertOne(20, 0, 0));
  EXPECT_THAT(harness.InsertOne(20, 2, 2),
              Refused(absl::StatusCode::kFailedPrecondition, "prompt_not_evicted"));
  EXPECT_TRUE(*harness.InsertOne(20, 2, 1));
  EXPECT_FALSE(*harness.InsertOne(20, 2, 0));
}

TEST(ReplayTableTest, RefusesMorePairsThanThePromptMayHave) {
  TableHarness harness;
  EXPECT_THAT(harness.Insert({0, 1, 0}, Pairs(3, 0)).status().message(), HasSubstr("pairs: 3"));
  EXPECT_EQ(harness.table().items(), 0);
}

TEST(ReplayTableTest, RefusesKeysOutOfRangeByName) {
  TableHarness harness;
  EXPECT_THAT(harness.Insert({-1, 0, 0}, {}).status().message(), HasSubstr("epoch"));
  EXPECT_THAT(harness.Insert({0, -1, 0}, {}).status().message(), HasSubstr("prompt_index"));
  EXPECT_THAT(harness.Insert({0, 0, -1}, {}).status().message(), HasSubstr("prompt_attempt"));
}

// ---------------------------------------------------------------- batches

// Invariant 7.
TEST(ReplayTableTest, ABatchIsTheSameForEver) {
  TableHarness harness;
  Fill(harness, 0, 5, 0);
  EXPECT_THAT(*harness.GetItems(1), ElementsAre(1, 2));
  EXPECT_THAT(*harness.GetItems(2), ElementsAre(3, 4));
  EXPECT_THAT(*harness.GetItems(1), ElementsAre(1, 2));
  harness.Restart();
  EXPECT_THAT(*harness.GetItems(2, 1), ElementsAre(3, 4));
  EXPECT_THAT(*harness.GetItems(1, 2), ElementsAre(1, 2));
}

TEST(ReplayTableTest, AskingAheadFormsTheBatchesBefore) {
  TableHarness harness;
  Fill(harness, 0, 6, 0);
  TableHarness same;
  Fill(same, 0, 6, 0);
  EXPECT_THAT(*harness.GetItems(2), ElementsAre(3, 4));
  EXPECT_EQ(harness.table().formed_batch(), 2);
  EXPECT_THAT(*harness.GetItems(1), *same.GetItems(1));
}

TEST(ReplayTableTest, KeepsTheBatchesItCouldFormOnTheWay) {
  TableHarness harness;
  Fill(harness, 0, 3, 0);
  EXPECT_THAT(harness.GetBatch(2), Refused(absl::StatusCode::kUnavailable, "not_enough_items"));
  EXPECT_EQ(harness.table().formed_batch(), 1);
  EXPECT_TRUE(base::GetRetryAfter(harness.GetBatch(2).status()).has_value());
}

TEST(ReplayTableTest, TheItemThatWaitedLongestComesFirst) {
  TableHarness harness;
  ASSERT_TRUE(*harness.Insert({0, 1, 0}, Pairs(2, 1)));  // items 1, 2
  ASSERT_TRUE(*harness.InsertOne(0, 0));                 // item 3, older weights but later here
  ASSERT_TRUE(*harness.InsertOne(2, -1));                // item 4
  EXPECT_THAT(*harness.GetItems(1), ElementsAre(1, 2));
  EXPECT_THAT(*harness.GetItems(2), ElementsAre(3, 4));
}

TEST(ReplayTableTest, AnItemIsInAtMostMaxUsesBatches) {
  TableOptions options = SmallJob();
  options.max_uses = 2;
  options.max_staleness = 10;
  TableHarness harness(options);
  Fill(harness, 0, 3, 0);
  // Used ones queue at the back: 1 2 3 -> 3 1 2 -> 2 (1 used up) 3
  EXPECT_THAT(*harness.GetItems(1), ElementsAre(1, 2));
  EXPECT_THAT(harness.GetBatch(2)->entries, ElementsAre(BatchEntry{3, 0}, BatchEntry{1, 1}));
  EXPECT_THAT(harness.GetBatch(3)->entries, ElementsAre(BatchEntry{2, 1}, BatchEntry{3, 1}));
  EXPECT_THAT(harness.GetBatch(4), Refused(absl::StatusCode::kUnavailable, "not_enough_items"));
}

TEST(ReplayTableTest, AFewItemsWithManyUsesDoNotFillABatch) {
  TableOptions options = SmallJob();
  options.max_uses = 50;
  TableHarness harness(options);
  Fill(harness, 0, 1, 0);
  EXPECT_THAT(harness.GetBatch(1), Refused(absl::StatusCode::kUnavailable, "not_enough_items"));
}

TEST(ReplayTableTest, RefusesBatchesBeyondTheEndOfTheJob) {
  TableOptions options = SmallJob();
  options.total_steps = 1;
  TableHarness harness(options);
  Fill(harness, 0, 2, 0);
  EXPECT_THAT(harness.GetBatch(2), Refused(absl::StatusCode::kOutOfRange, "end_of_job"));
  EXPECT_TRUE(harness.GetBatch(1).ok());
  EXPECT_EQ(harness.GetBatch(0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(harness.GetBatch(-5).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ReplayTableTest, RefusesToRunFarAheadOfTheAcknowledgedBatch) {
  TableOptions options = SmallJob();
  options.checkpoint_every = 1;
  options.prefetch_batches = 1;
  TableHarness harness(options);
  Fill(harness, 0, 6, 0);
  ASSERT_TRUE(harness.GetBatch(2).ok());
  EXPECT_THAT(harness.GetBatch(3),
              Refused(absl::StatusCode::kResourceExhausted, "unacknowledged_limit"));
  ASSERT_TRUE(harness.Acknowledge(1).ok());
  Fill(harness, 10, 2, 2);
  EXPECT_TRUE(harness.GetBatch(3).ok());
}

TEST(ReplayTableTest, AJobThatGoesOnStartsAtItsFirstBatch) {
  TableOptions options = SmallJob();
  options.first_batch = 41;
  TableHarness harness(options);
  ASSERT_TRUE(*harness.InsertOne(0, 38));  // V(41) = 40: lag 2
  EXPECT_THAT(harness.Events(), ElementsAre("stored 0/0/0", "evicted 0/0/0"));
  Fill(harness, 1, 2, 39);
  EXPECT_THAT(harness.GetBatch(40),
              Refused(absl::StatusCode::kFailedPrecondition, "batch_acknowledged"));
  EXPECT_THAT(*harness.GetItems(41), ElementsAre(2, 3));
}

// ---------------------------------------------------------------- staleness

TEST(ReplayTableTest, ItemsThatFitNoFutureBatchAreEvictedAtOnce) {
  TableHarness harness;                   // S = 1
  ASSERT_TRUE(*harness.InsertOne(0, 0));  // item 1
  ASSERT_TRUE(*harness.InsertOne(1, 1));  // item 2
  Fill(harness, 2, 4, 2);                 // items 3 to 6
  EXPECT_THAT(*harness.GetItems(1), ElementsAre(1, 2));
  ASSERT_TRUE(*harness.InsertOne(10, 0));  // item 7: fits batch 2, where V = 1
  EXPECT_EQ(harness.table().items(), 7);
  EXPECT_THAT(*harness.GetItems(2), ElementsAre(3, 4));  // V(3) = 2: version 0 fits no more
  EXPECT_EQ(harness.table().items(), 6);
  EXPECT_EQ(harness.table().counters().evicted_items, 1);
  EXPECT_EQ(harness.Events().back(), "evicted 0/10/0");
}

TEST(ReplayTableTest, PrefetchedBatchesEvictTooBecauseTheyAreFormedInOrder) {
  TableHarness harness;
  Fill(harness, 0, 5, 0);                 // the fifth would fit batches 1 and 2 only
  EXPECT_TRUE(harness.GetBatch(2).ok());  // next is 3 with V = 2
  EXPECT_EQ(harness.table().available_items(), 0);
  EXPECT_EQ(harness.Events().back(), "evicted 0/4/0");
}

TEST(ReplayTableTest, VersionsMoveOnlyEveryPublishEverySteps) {
  TableOptions options = SmallJob();
  options.publish_every = 2;
  options.max_staleness = 0;
  TableHarness harness(options);
  Fill(harness, 0, 5, 0);
  EXPECT_EQ(harness.table().PolicyVersion(1), 0);
  EXPECT_EQ(harness.table().PolicyVersion(2), 0);
  EXPECT_EQ(harness.table().PolicyVersion(3), 1);
  EXPECT_TRUE(harness.GetBatch(1).ok());
  EXPECT_EQ(harness.table().available_items(), 3);
  EXPECT_TRUE(harness.GetBatch(2).ok());
  EXPECT_EQ(harness.table().available_items(), 0);  // V(3) = 1
}

TEST(ReplayTableTest, ExternalPairsNeverGrowStaleAndHaveNoLag) {
  TableHarness harness;
  Fill(harness, 0, 20, -1);
  ASSERT_TRUE(harness.GetBatch(10).ok());
  EXPECT_EQ(harness.table().counters().evicted_items, 0);
  EXPECT_EQ(harness.table().LagVersions(10, harness.table().batch(10).entries[0]), 0);
}

TEST(ReplayTableTest, LagIsNeverNegative) {
  TableHarness harness;
  ASSERT_TRUE(*harness.InsertOne(0, 0));
  ASSERT_TRUE(*harness.InsertOne(1, 5));  // newer than V(1), after a resume
  ASSERT_TRUE(*harness.InsertOne(2, 0));
  ASSERT_TRUE(*harness.InsertOne(3, 1));
  Batch first = *harness.GetBatch(1);
  EXPECT_EQ(harness.table().LagVersions(1, first.entries[0]), 0);
  EXPECT_EQ(harness.table().LagVersions(1, first.entries[1]), 0);
  Batch second = *harness.GetBatch(2);
  EXPECT_EQ(harness.table().LagVersions(2, second.entries[0]), 1);
  EXPECT_EQ(harness.table().LagVersions(2, second.entries[1]), 0);
}

TEST(ReplayTableTest, AUsedItemThatGrowsStaleCountsAsConsumed) {
  TableOptions options = SmallJob();
  options.max_uses = 3;
  options.max_staleness = 0;
  TableHarness harness(options);
  Fill(harness, 0, 2, 0);
  ASSERT_TRUE(harness.GetBatch(1).ok());  // V(2) = 1: no further use
  EXPECT_EQ(harness.table().available_items(), 0);
  EXPECT_EQ(harness.table().items(), 2);  // batch 1 may be asked for again
  ASSERT_TRUE(harness.Acknowledge(1).ok());
  EXPECT_EQ(harness.table().items(), 0);
  EXPECT_EQ(harness.table().counters().consumed_items, 2);
  EXPECT_THAT(harness.Events(),
              ElementsAre("stored 0/0/0", "stored 0/1/0", "consumed 0/0/0", "consumed 0/1/0"));
}

TEST(ReplayTableTest, APromptUsedInPartIsConsumedNotLeasedAgain) {
  TableHarness harness;
  ASSERT_TRUE(*harness.InsertOne(0, 0));                        // item 1
  ASSERT_TRUE(*harness.Insert({0, 1, 0}, Pairs(2, 0)));         // items 2, 3
  ASSERT_TRUE(harness.GetBatch(1).ok());                        // 1 and 2
  Fill(harness, 2, 1, 1);                                       // item 4
  ASSERT_TRUE(harness.GetBatch(2).ok());                        // 3 and 4
  ASSERT_TRUE(*harness.Insert({0, 5, 0}, {{2, 10}, {1, 10}}));  // items 5, 6: 6 fits batch 3 only
  ASSERT_TRUE(*harness.InsertOne(6, 2));                        // item 7
  // Batch 3 takes 5 and 6.
  EXPECT_THAT(*harness.GetItems(3), ElementsAre(5, 6));
  ASSERT_TRUE(*harness.Insert({0, 7, 0}, {{3, 10}, {2, 10}}));  // items 8, 9
  EXPECT_THAT(*harness.GetItems(4), ElementsAre(7, 8));  // V(5) = 4: item 9 (version 2) is stale
  EXPECT_EQ(harness.table().counters().evicted_items, 1);
  ASSERT_TRUE(harness.Acknowledge(4).ok());
  EXPECT_EQ(harness.Events().back(), "consumed 0/7/0");
  for (const std::string& event : harness.Events()) EXPECT_THAT(event, Not(HasSubstr("evicted")));
}

// ---------------------------------------------------------------- slices

TEST(RankSliceTest, TheSlicesOfAllRanksAreTheBatch) {
  for (int64_t count : {0, 1, 7, 32}) {
    for (int64_t world : {1, 2, 3, 5, 40}) {
      int64_t expected_begin = 0;
      for (int64_t rank = 0; rank < world; ++rank) {
        Slice slice = RankSlice(count, rank, world);
        EXPECT_EQ(slice.begin, expected_begin);
        EXPECT_GE(slice.end - slice.begin, count / world);
        EXPECT_LE(slice.end - slice.begin, (count + world - 1) / world);
        expected_begin = slice.end;
      }
      EXPECT_EQ(expected_begin, count);
    }
  }
}

}  // namespace
}  // namespace dtrpo::replay

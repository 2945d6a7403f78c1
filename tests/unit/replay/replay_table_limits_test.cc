#include "common/base/retry_after.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/replay/replay_table.h"
#include "tests/unit/replay/table_harness.h"

namespace dtrpo::replay {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// ---------------------------------------------------------------- acknowledgements and fencing

TEST(ReplayTableLimitsTest, AcknowledgedItemsAreDeletedAndTheirPromptsConsumed) {
  TableHarness harness;
  ASSERT_TRUE(*harness.Insert({0, 0, 0}, Pairs(2, 0)));
  ASSERT_TRUE(*harness.Insert({0, 1, 0}, Pairs(2, 0)));
  ASSERT_TRUE(harness.GetBatch(2).ok());
  EXPECT_EQ(harness.table().assigned_items(), 4);
  ASSERT_TRUE(harness.Acknowledge(1).ok());
  EXPECT_EQ(harness.table().items(), 2);
  EXPECT_EQ(harness.table().bytes(), 20);
  EXPECT_EQ(harness.table().assigned_items(), 2);
  EXPECT_EQ(harness.Events().back(), "consumed 0/0/0");
  EXPECT_THAT(harness.GetBatch(1),
              Refused(absl::StatusCode::kFailedPrecondition, "batch_acknowledged"));
  EXPECT_TRUE(harness.GetBatch(2).ok());
}

TEST(ReplayTableLimitsTest, ARepeatedOrLowerAcknowledgementChangesNothing) {
  TableHarness harness;
  Fill(harness, 0, 4, 0);
  ASSERT_TRUE(harness.GetBatch(2).ok());
  ASSERT_TRUE(harness.Acknowledge(2).ok());
  int64_t logged = harness.log_size();
  EXPECT_TRUE(harness.Acknowledge(2).ok());
  EXPECT_TRUE(harness.Acknowledge(1).ok());
  EXPECT_EQ(harness.log_size(), logged);
  EXPECT_EQ(harness.Acknowledge(3).code(), absl::StatusCode::kInvalidArgument);
}

TEST(ReplayTableLimitsTest, AnAcknowledgedItemWithUsesLeftStays) {
  TableOptions options = SmallJob();
  options.max_uses = 2;
  options.max_staleness = 9;
  TableHarness harness(options);
  Fill(harness, 0, 2, 0);
  ASSERT_TRUE(harness.GetBatch(1).ok());
  ASSERT_TRUE(harness.Acknowledge(1).ok());
  EXPECT_EQ(harness.table().available_items(), 2);
  EXPECT_THAT(harness.GetBatch(2)->entries, ElementsAre(BatchEntry{1, 1}, BatchEntry{2, 1}));
  ASSERT_TRUE(harness.Acknowledge(2).ok());
  EXPECT_EQ(harness.table().items(), 0);
}

TEST(ReplayTableLimitsTest, ALowerAttemptIsFencedOff) {
  TableHarness harness;
  Fill(harness, 0, 4, 0);
  EXPECT_TRUE(harness.GetBatch(1, 1).ok());
  EXPECT_TRUE(harness.GetBatch(1, 2).ok());
  EXPECT_THAT(harness.GetBatch(1, 1),
              Refused(absl::StatusCode::kFailedPrecondition, "stale_attempt"));
  EXPECT_EQ(base::GetReason(harness.Acknowledge(1, 1)), "stale_attempt");
  EXPECT_EQ(harness.table().acknowledged_batch(), 0);
  harness.Restart();
  EXPECT_EQ(base::GetReason(harness.Acknowledge(1, 1)), "stale_attempt");
  EXPECT_TRUE(harness.Acknowledge(1, 2).ok());
}

// ---------------------------------------------------------------- end of data

TEST(ReplayTableLimitsTest, TheEndOfTheDataFormsAShortLastBatch) {
  TableHarness harness;
  Fill(harness, 0, 3, -1);
  EXPECT_FALSE(harness.GetBatch(1)->last);
  EXPECT_FALSE(harness.GetBatch(2).ok());
  harness.Mark(0, /*end_of_data=*/true);
  Batch last = *harness.GetBatch(2);
  EXPECT_TRUE(last.last);
  EXPECT_EQ(last.entries.size(), 1u);
  EXPECT_THAT(harness.GetBatch(3), Refused(absl::StatusCode::kOutOfRange, "end_of_data"));
  harness.Restart();
  EXPECT_EQ(*harness.GetBatch(2), last);
  EXPECT_THAT(harness.GetBatch(3), Refused(absl::StatusCode::kOutOfRange, "end_of_data"));
}

TEST(ReplayTableLimitsTest, AFullBatchThatUsesUpTheDataIsTheLast) {
  TableHarness harness;
  Fill(harness, 0, 4, -1);
  harness.Mark(0, /*end_of_data=*/true);
  EXPECT_FALSE(harness.GetBatch(1)->last);
  EXPECT_TRUE(harness.GetBatch(2)->last);
}

TEST(ReplayTableLimitsTest, DataThatEndsAfterItsLastBatchWasFormedEndsTheSame) {
  TableHarness harness;
  Fill(harness, 0, 2, -1);
  EXPECT_FALSE(harness.GetBatch(1)->last);
  harness.Mark(0, /*end_of_data=*/true);
  EXPECT_THAT(harness.GetBatch(2), Refused(absl::StatusCode::kOutOfRange, "end_of_data"));
}

TEST(ReplayTableLimitsTest, AShortBatchIsLastEvenIfItsItemsHaveUsesLeft) {
  TableOptions options = SmallJob();
  options.max_uses = 2;
  TableHarness harness(options);
  Fill(harness, 0, 3, -1);
  harness.Mark(0, /*end_of_data=*/true);
  EXPECT_FALSE(harness.GetBatch(1)->last);  // items 1, 2
  EXPECT_FALSE(harness.GetBatch(2)->last);  // items 3, 1
  EXPECT_TRUE(harness.GetBatch(3)->last);   // items 2, 3: used up
  TableHarness other(options);
  Fill(other, 0, 1, -1);
  other.Mark(0, true);
  EXPECT_TRUE(other.GetBatch(1)->last);
  EXPECT_EQ(other.table().available_items(), 0);
  ASSERT_TRUE(other.Acknowledge(1).ok());
  EXPECT_EQ(other.Events().back(), "consumed 0/0/0");
}

TEST(ReplayTableLimitsTest, NoInsertFollowsTheEndOfTheData) {
  TableHarness harness;
  Fill(harness, 0, 1, 0);
  harness.Mark(0, /*end_of_data=*/true);
  EXPECT_THAT(harness.InsertOne(1, 0),
              Refused(absl::StatusCode::kFailedPrecondition, "end_of_data"));
  EXPECT_FALSE(*harness.InsertOne(0, 0));  // a late retry still learns that it was stored
}

// ---------------------------------------------------------------- limits

TEST(ReplayTableLimitsTest, AFullTableRefusesAndDropsNothing) {
  TableOptions options = SmallJob();
  options.checkpoint_every = 1;
  options.max_items = 0;  // just what the job needs: 2 * (1 + 2) + 2 * 1 * 2 + 2 = 12
  TableHarness harness(options);
  Fill(harness, 0, 12, 0);
  absl::StatusOr<bool> refused = harness.InsertOne(99, 0);
  EXPECT_THAT(refused, Refused(absl::StatusCode::kResourceExhausted, "replay_full"));
  EXPECT_TRUE(base::GetRetryAfter(refused.status()).has_value());
  EXPECT_EQ(harness.table().items(), 12);
  EXPECT_FALSE(*harness.InsertOne(0, 0));  // duplicates are no load
  EXPECT_TRUE(*harness.Insert({0, 50, 0}, {}));
}

TEST(ReplayTableLimitsTest, BytesAreALimitToo) {
  TableOptions options = SmallJob();
  options.max_bytes = 100;
  TableHarness harness(options);
  ASSERT_TRUE(*harness.Insert({0, 0, 0}, Pairs(2, 0, 45)));
  EXPECT_THAT(harness.InsertOne(1, 0).status(), absl::OkStatus());
  EXPECT_THAT(harness.InsertOne(2, 0),
              Refused(absl::StatusCode::kResourceExhausted, "replay_full"));
  EXPECT_EQ(harness.Insert({0, 3, 0}, Pairs(1, 0, 101)).status().code(),
            absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(harness.GetBatch(1).ok());
  ASSERT_TRUE(harness.Acknowledge(1).ok());
  EXPECT_TRUE(*harness.InsertOne(2, 1));
}

TEST(ReplayTableLimitsTest, SaysSoWhenMaxBytesCannotHoldOneBatch) {
  TableOptions options = SmallJob();
  options.max_bytes = 100;
  TableHarness harness(options);
  ASSERT_TRUE(*harness.Insert({0, 0, 0}, Pairs(1, 0, 60)));
  EXPECT_THAT(harness.Insert({0, 1, 0}, Pairs(1, 0, 60)),
              Refused(absl::StatusCode::kFailedPrecondition, "max_bytes_too_small"));
}

TEST(ReplayTableLimitsTest, WantsACheckpointWhenOnlyThatMakesRoom) {
  TableOptions options = SmallJob();
  options.max_bytes = 100;
  TableHarness harness(options);
  ASSERT_TRUE(*harness.Insert({0, 0, 0}, Pairs(2, 0, 40)));
  ASSERT_TRUE(harness.GetBatch(1).ok());
  EXPECT_TRUE(harness.table().CheckpointWanted());
  EXPECT_THAT(harness.GetBatch(2), Refused(absl::StatusCode::kUnavailable, "checkpoint_wanted"));
  ASSERT_TRUE(harness.Acknowledge(1).ok());
  EXPECT_FALSE(harness.table().CheckpointWanted());
  EXPECT_THAT(harness.GetBatch(2), Refused(absl::StatusCode::kUnavailable, "not_enough_items"));
}

TEST(ReplayTableLimitsTest, RefusesWhatTheRemainingBatchesCannotUse) {
  TableOptions options = SmallJob();
  options.total_steps = 2;
  TableHarness harness(options);
  Fill(harness, 0, 4, 0);
  EXPECT_THAT(harness.InsertOne(9, 0),
              Refused(absl::StatusCode::kResourceExhausted, "replay_full"));
  ASSERT_TRUE(harness.GetBatch(2).ok());
  EXPECT_THAT(harness.InsertOne(9, 0),
              Refused(absl::StatusCode::kResourceExhausted, "replay_full"));
}

TEST(ReplayTableLimitsTest, EvictionMakesRoomAmongTheRemainingBatches) {
  TableOptions options = SmallJob();
  options.total_steps = 2;
  options.max_staleness = 0;
  TableHarness harness(options);
  Fill(harness, 0, 4, 0);
  ASSERT_TRUE(harness.GetBatch(1).ok());  // the other two are stale now
  Fill(harness, 10, 2, 1);
  EXPECT_TRUE(harness.GetBatch(2).ok());
}

// ---------------------------------------------------------------- marks, events, closing

TEST(ReplayTableLimitsTest, MarksOnlyRise) {
  TableHarness harness;
  harness.Mark(5, true, 3);
  int64_t logged = harness.log_size();
  harness.Mark(4, false, 2);
  EXPECT_EQ(harness.log_size(), logged);
  EXPECT_EQ(harness.table().newest_version(), 5);
  EXPECT_EQ(harness.table().ledger().forgotten_below_epoch(), 3);
}

TEST(ReplayTableLimitsTest, EventsAreKeptUntilTheyAreAcknowledged) {
  TableHarness harness;
  Fill(harness, 0, 5, 0);
  EXPECT_EQ(harness.table().ledger().EventsAfter(0, 2).size(), 2u);
  EXPECT_EQ(harness.table().ledger().EventsAfter(3, 100).front().position, 4);
  harness.DropEvents(3);
  EXPECT_EQ(harness.table().ledger().EventsAfter(0, 100).front().position, 4);
  harness.DropEvents(100);  // no further than the last one
  EXPECT_THAT(harness.Events(), IsEmpty());
  Fill(harness, 10, 1, 0);
  EXPECT_EQ(harness.table().ledger().EventsAfter(5, 100).front().position, 6);
  harness.Restart();
  EXPECT_EQ(harness.table().ledger().EventsAfter(0, 100).front().position, 6);
}

TEST(ReplayTableLimitsTest, AClosedTableHoldsNothing) {
  TableHarness harness;
  Fill(harness, 0, 5, 0);
  harness.Close();
  EXPECT_TRUE(harness.table().closed());
  EXPECT_EQ(harness.table().items(), 0);
  EXPECT_TRUE(harness.Replayed().closed());
}

TEST(ReplayTableLimitsTest, ASnapshotIsTheWholeState) {
  TableOptions options = SmallJob();
  options.max_uses = 2;
  TableHarness harness(options);
  Fill(harness, 0, 5, 0);
  ASSERT_TRUE(harness.GetBatch(2, 3).ok());
  ASSERT_TRUE(harness.Acknowledge(1, 3).ok());
  TableSnapshot snapshot = harness.table().ToSnapshot();
  EXPECT_EQ(ReplayTable(snapshot).ToSnapshot(), snapshot);
  EXPECT_EQ(ReplayTable(snapshot).bytes(), harness.table().bytes());
  EXPECT_EQ(ReplayTable(snapshot).assigned_items(), harness.table().assigned_items());
  EXPECT_EQ(harness.Replayed().ToSnapshot(), snapshot);
}

TEST(ReplayTableDeathTest, ARecordThatNoPlanMadeIsABrokenInvariant) {
  ReplayTable table(*Complete(SmallJob()));
  EXPECT_DEATH(table.Apply(BatchFormed{.batch = 2, .items = {}, .last = false}), "record.batch");
  EXPECT_DEATH(table.Apply(ItemsDeleted{{7}}), "no item 7");
}

}  // namespace
}  // namespace dtrpo::replay

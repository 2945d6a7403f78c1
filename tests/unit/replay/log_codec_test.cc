#include "services/replay/log_codec.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/dtrpo/v1/replay_log.pb.h"
#include "tests/unit/replay/table_harness.h"

namespace dtrpo::replay {
namespace {

using ::testing::HasSubstr;

// A table in which every field of a snapshot differs from its default.
TableSnapshot RichSnapshot() {
  TableOptions options = SmallJob();
  options.max_uses = 2;
  options.seed = 99;
  TableHarness harness(options);
  for (int64_t i = 0; i < 7; ++i) EXPECT_TRUE(*harness.Insert({2, i, 0}, {{0, 10}, {-1, 11}}));
  EXPECT_TRUE(*harness.Insert({2, 50, 0}, {}));
  EXPECT_TRUE(harness.GetBatch(4, 3).ok());
  EXPECT_TRUE(harness.Acknowledge(2, 3).ok());
  harness.Mark(4, true, 1);
  harness.DropEvents(2);
  TableSnapshot snapshot = harness.table().ToSnapshot();
  snapshot.last_formed = true;
  snapshot.closed = true;
  snapshot.counters.consumed_items = 5;
  return snapshot;
}

TEST(LogCodecTest, SnapshotsSurviveTheRoundTrip) {
  TableSnapshot snapshot = RichSnapshot();
  EXPECT_FALSE(snapshot.items.empty());
  EXPECT_FALSE(snapshot.available.empty());
  EXPECT_FALSE(snapshot.batches.empty());
  EXPECT_GT(snapshot.counters.evicted_items, 0);
  EXPECT_EQ(*DecodeSnapshot(EncodeSnapshot(snapshot)), snapshot);
}

TEST(LogCodecTest, RefusesBytesThatAreNoRecord) {
  EXPECT_EQ(DecodeRecord("\xff\xff\xff").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(DecodeSnapshot("\xff\xff\xff").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(DecodeRecord("").status().code(), absl::StatusCode::kDataLoss);
}

TEST(LogCodecTest, RefusesAnotherFormatVersion) {
  v1::ReplayLogRecord record;
  record.set_data_ended(true);
  record.set_format_version(2);
  EXPECT_THAT(DecodeRecord(record.SerializeAsString()).status().message(),
              HasSubstr("format_version 2"));
  record.set_format_version(1);
  EXPECT_TRUE(DecodeRecord(record.SerializeAsString()).ok());
}

TEST(LogCodecTest, RefusesAFactFromTheFuture) {
  v1::ReplayLogRecord record;
  record.set_format_version(1);
  EXPECT_THAT(DecodeRecord(record.SerializeAsString()).status().message(), HasSubstr("no fact"));
}

}  // namespace
}  // namespace dtrpo::replay

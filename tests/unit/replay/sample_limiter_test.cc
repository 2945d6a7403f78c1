#include "services/replay/sample_limiter.h"

#include <cmath>

#include "gtest/gtest.h"
#include "tests/unit/replay/table_harness.h"

namespace dtrpo::replay {
namespace {

using ::testing::HasSubstr;

TEST(SampleLimiterTest, TheSharesOfTheFirstItemsNeverExceedTheRatio) {
  for (const double ratio : {1.0, 1.25, 1.5, 1.999, 2.0, 3.7}) {
    TableOptions options = SmallJob();
    options.max_uses = 4;
    options.samples_per_insert = ratio;
    const SampleLimiter limiter(*Complete(options));
    int64_t shares = 0;
    for (ItemId k = 1; k <= 10000; ++k) {
      shares += limiter.UsesOf(k);
      ASSERT_EQ(shares, static_cast<int64_t>(std::floor(static_cast<double>(k) * ratio)))
          << "ratio " << ratio << ", item " << k;
    }
  }
}

TEST(SampleLimiterTest, ItemsAreUsedAsOftenAsTheRatioSaysAndThenLeave) {
  TableOptions options = SmallJob();  // batches of 2
  options.max_uses = 2;
  options.samples_per_insert = 1.5;  // items 2, 4, ... twice, the others once
  options.max_staleness = 50;
  options.max_items = 0;
  TableHarness harness(options);
  Fill(harness, 0, 4, 0);
  EXPECT_THAT(*harness.GetItems(1), ::testing::ElementsAre(1, 2));
  EXPECT_THAT(*harness.GetItems(2), ::testing::ElementsAre(3, 4));
  EXPECT_THAT(*harness.GetItems(3), ::testing::ElementsAre(2, 4));  // 6 draws of 4 inserted
  EXPECT_THAT(harness.GetItems(4), Refused(absl::StatusCode::kUnavailable, kNotEnoughItems));
  Fill(harness, 4, 2, 0);
  EXPECT_THAT(*harness.GetItems(4), ::testing::ElementsAre(5, 6));
}

TEST(SampleLimiterTest, NoBatchBeforeTheLeastItemsAreThere) {
  TableOptions options = SmallJob();
  options.min_items = 4;
  TableHarness harness(options);
  Fill(harness, 0, 3, 0);
  EXPECT_THAT(harness.GetBatch(1), Refused(absl::StatusCode::kUnavailable, kNotEnoughItems));
  EXPECT_THAT(harness.GetBatch(1).status().message(), HasSubstr("3 of 4"));
  Fill(harness, 3, 1, 0);
  EXPECT_TRUE(harness.GetBatch(1).ok());
  EXPECT_THAT(harness.GetBatch(2), Refused(absl::StatusCode::kUnavailable, kNotEnoughItems));
  harness.Mark(0, /*end_of_data=*/true);  // nothing more will come: what is there is used
  EXPECT_TRUE(harness.GetBatch(2).ok());
}

TEST(SampleLimiterTest, TheEndOfTheJobDoesntWaitForItemsThatItRefuses) {
  TableOptions options = SmallJob();
  options.min_items = 4;
  options.total_steps = 2;
  TableHarness harness(options);
  Fill(harness, 0, 4, 0);
  EXPECT_THAT(harness.InsertOne(4, 0), Refused(absl::StatusCode::kResourceExhausted, kReplayFull));
  EXPECT_TRUE(harness.GetBatch(1).ok());
  EXPECT_TRUE(harness.GetBatch(2).ok());
}

TEST(SampleLimiterTest, LimitsThatWouldStopTheJobAreRefused) {
  TableOptions options = SmallJob();
  options.min_items = 5;  // B * (publish_every * S + 1) = 4
  EXPECT_THAT(Complete(options).status().message(), HasSubstr("min_items"));
  options = SmallJob();
  options.samples_per_insert = 0.5;
  EXPECT_THAT(Complete(options).status().message(), HasSubstr("samples_per_insert"));
  options.samples_per_insert = 1.5;  // max_uses is 1
  EXPECT_THAT(Complete(options).status().message(), HasSubstr("samples_per_insert"));
  options.samples_per_insert = std::nan("");
  EXPECT_THAT(Complete(options).status().message(), HasSubstr("samples_per_insert"));
  options = SmallJob();
  options.priority_exponent = std::nan("");
  EXPECT_THAT(Complete(options).status().message(), HasSubstr("priority_exponent"));
}

}  // namespace
}  // namespace dtrpo::replay

#include "services/coordinator/step_history.h"

#include <gtest/gtest.h>

#include "services/coordinator/sliding_rate.h"

namespace dtrpo::coordinator {
namespace {

v1::StepRecord Record(int64_t step, int64_t unix_ms) {
  v1::StepRecord record;
  record.set_step(step);
  record.set_unix_ms(unix_ms);
  return record;
}

TEST(StepHistoryTest, GivesTheStepsBeyondTheOneThatWasSeen) {
  StepHistory history;
  for (int64_t step = 1; step <= 5; ++step) history.Add(Record(step, step));
  const auto after = history.After(3);
  ASSERT_EQ(after.size(), 2u);
  EXPECT_EQ(after[0].step(), 4);
}

TEST(StepHistoryTest, ALearnerThatResumedReplacesTheStepsAfterItsCheckpoint) {
  StepHistory history;
  for (int64_t step = 1; step <= 5; ++step) history.Add(Record(step, step));
  history.Add(Record(3, 100));
  EXPECT_EQ(history.last_step(), 3);
  EXPECT_EQ(history.After(0).size(), 3u);
}

TEST(StepHistoryTest, EstimatesTheTimeLeftFromTheLastSteps) {
  StepHistory history;
  EXPECT_EQ(history.SecondsLeft(10), 0);
  history.Add(Record(1, 0));
  EXPECT_EQ(history.SecondsLeft(10), 0);
  history.Add(Record(2, 2000));
  history.Add(Record(3, 4000));
  EXPECT_DOUBLE_EQ(history.SecondsLeft(10), 7 * 2.0);
}

TEST(StepHistoryTest, IsBoundedAndKeepsItsEndsWhole) {
  StepHistory history(/*max_records=*/100);
  for (int64_t step = 1; step <= 1000; ++step) history.Add(Record(step, step));
  const auto all = history.After(0);
  EXPECT_LE(all.size(), 100u);
  EXPECT_GE(all.size(), 50u);
  EXPECT_EQ(all.front().step(), 1);
  EXPECT_EQ(all.back().step(), 1000);
  EXPECT_EQ(all[all.size() - 2].step(), 999);
}

TEST(SlidingRateTest, IsTheAmountPerSecondOfTheWindow) {
  const absl::Time start = absl::FromUnixSeconds(1000);
  SlidingRate rate(absl::Seconds(10));
  EXPECT_EQ(rate.PerSecond(start), 0);
  rate.Add(start, 100);
  EXPECT_DOUBLE_EQ(rate.PerSecond(start + absl::Seconds(5)), 20);  // 100 in 5 s so far
  rate.Add(start + absl::Seconds(8), 60);
  EXPECT_DOUBLE_EQ(rate.PerSecond(start + absl::Seconds(9)), 160.0 / 9);
  EXPECT_DOUBLE_EQ(rate.PerSecond(start + absl::Seconds(12)), 6);  // the first has left the window
  EXPECT_EQ(rate.PerSecond(start + absl::Seconds(30)), 0);
}

}  // namespace
}  // namespace dtrpo::coordinator

#include "common/base/clock.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "common/base/deadline.h"
#include "common/base/simulated_clock.h"
#include "common/base/stop_signal.h"

namespace dtrpo::base {
namespace {

TEST(RealClockTest, SleepsAtLeastAsLongAsAsked) {
  const absl::Time start = RealClock()->Now();
  RealClock()->SleepFor(absl::Milliseconds(5));
  EXPECT_GE(RealClock()->Now() - start, absl::Milliseconds(5));
}

TEST(SimulatedClockTest, TimeMovesOnlyWhenAdvanced) {
  SimulatedClock clock;
  const absl::Time start = clock.Now();
  EXPECT_EQ(clock.Now(), start);
  clock.Advance(absl::Seconds(3));
  EXPECT_EQ(clock.Now(), start + absl::Seconds(3));
}

TEST(SimulatedClockTest, SleeperWakesWhenItsTimeHasCome) {
  SimulatedClock clock;
  std::atomic<bool> awake{false};
  std::thread sleeper([&, wakeup = clock.Now() + absl::Seconds(10)] {
    clock.SleepUntil(wakeup);
    awake = true;
  });
  ASSERT_TRUE(clock.WaitForWaiters(1));
  clock.Advance(absl::Seconds(9));
  EXPECT_FALSE(awake);
  clock.Advance(absl::Seconds(1));
  sleeper.join();
  EXPECT_TRUE(awake);
}

TEST(SimulatedClockTest, AwaitReturnsWhetherTheConditionHolds) {
  SimulatedClock clock;
  absl::Mutex mutex;
  bool flag = false;
  absl::MutexLock lock(&mutex);
  EXPECT_FALSE(clock.AwaitUntil(&mutex, absl::Condition(&flag), clock.Now()));
  flag = true;
  EXPECT_TRUE(clock.AwaitUntil(&mutex, absl::Condition(&flag), clock.Now()));
}

TEST(StopSignalTest, EndsASleepAtOnce) {
  SimulatedClock clock;
  StopSignal stop;
  std::thread sleeper([&] { EXPECT_TRUE(stop.SleepFor(clock, absl::Hours(1))); });
  ASSERT_TRUE(clock.WaitForWaiters(1));
  EXPECT_FALSE(stop.stopped());
  stop.Stop();
  sleeper.join();
  EXPECT_TRUE(stop.stopped());
}

TEST(StopSignalTest, SleepsToTheEndWhenNobodyStopsIt) {
  SimulatedClock clock;
  StopSignal stop;
  EXPECT_FALSE(stop.SleepUntil(clock, clock.Now()));
}

TEST(DeadlineTest, RemainingIsNeverNegative) {
  SimulatedClock clock;
  const absl::Time deadline = DeadlineAfter(clock, absl::Seconds(5));
  EXPECT_EQ(Remaining(clock, deadline), absl::Seconds(5));
  EXPECT_TRUE(CheckDeadline(clock, deadline, "batch 3").ok());
  clock.Advance(absl::Seconds(7));
  EXPECT_EQ(Remaining(clock, deadline), absl::ZeroDuration());
  const absl::Status late = CheckDeadline(clock, deadline, "batch 3");
  EXPECT_EQ(late.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(late.message(), "deadline passed 2s ago: batch 3");
}

}  // namespace
}  // namespace dtrpo::base

#include "common/base/retry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "common/base/retry_after.h"

namespace dtrpo::base {
namespace {

// Sleeps by moving time on, and remembers for how long.
class RecordingClock : public Clock {
 public:
  absl::Time Now() override { return now_; }
  void SleepUntil(absl::Time wakeup) override {
    slept.push_back(wakeup - now_);
    now_ = wakeup;
  }
  bool AwaitUntil(absl::Mutex*, const absl::Condition& condition, absl::Time deadline) override {
    if (condition.Eval()) return true;
    SleepUntil(deadline);
    return condition.Eval();
  }
  std::vector<absl::Duration> slept;

 private:
  absl::Time now_ = absl::UnixEpoch();
};

class RetryTest : public testing::Test {
 protected:
  RetryCall Call(absl::Duration timeout) {
    return {.what = "insert into replay-0",
            .deadline = clock_.Now() + timeout,
            .seed = 1,
            .clock = &clock_};
  }

  RecordingClock clock_;
  int attempts_ = 0;
};

TEST_F(RetryTest, ReturnsTheFirstSuccess) {
  absl::StatusOr<int> result =
      Retry(RetryOptions(), Call(absl::Minutes(1)), [&](absl::Time) -> absl::StatusOr<int> {
        if (++attempts_ < 3) return absl::UnavailableError("down");
        return 42;
      });
  EXPECT_EQ(*result, 42);
  EXPECT_EQ(attempts_, 3);
  EXPECT_EQ(clock_.slept.size(), 2u);
}

TEST_F(RetryTest, DoesNotRetryWhatWouldFailAgain) {
  for (absl::StatusCode code :
       {absl::StatusCode::kInvalidArgument, absl::StatusCode::kFailedPrecondition,
        absl::StatusCode::kInternal, absl::StatusCode::kAborted, absl::StatusCode::kCancelled,
        absl::StatusCode::kResourceExhausted /* without a retry-after */}) {
    attempts_ = 0;
    const absl::Status status = Retry(RetryOptions(), Call(absl::Minutes(1)), [&](absl::Time) {
      ++attempts_;
      return absl::Status(code, "no");
    });
    EXPECT_EQ(status, absl::Status(code, "no"));
    EXPECT_EQ(attempts_, 1) << code;
  }
}

TEST_F(RetryTest, BackOffDoublesUpToItsMaximumWithinTheJitter) {
  RetryOptions options;
  options.initial_backoff = absl::Seconds(1);
  options.max_backoff = absl::Seconds(4);
  options.jitter = 0.25;
  options.max_attempts = 6;
  Retry(options, Call(absl::Hours(1)), [&](absl::Time) {
    return absl::UnavailableError("down");
  }).IgnoreError();
  const std::vector<double> full = {1, 2, 4, 4, 4};
  ASSERT_EQ(clock_.slept.size(), full.size());
  for (size_t i = 0; i < full.size(); ++i) {
    EXPECT_LE(absl::ToDoubleSeconds(clock_.slept[i]), full[i]);
    EXPECT_GE(absl::ToDoubleSeconds(clock_.slept[i]), 0.75 * full[i]);
  }
}

TEST_F(RetryTest, TheSeedDecidesTheJitter) {
  Backoff a(RetryOptions(), 1), b(RetryOptions(), 1), c(RetryOptions(), 2);
  const absl::Status down = absl::UnavailableError("down");
  const absl::Duration first = a.Next(down);
  EXPECT_EQ(first, b.Next(down));
  EXPECT_NE(first, c.Next(down));
}

TEST_F(RetryTest, WaitsAtLeastTheRetryAfter) {
  const absl::Status status = Retry(RetryOptions(), Call(absl::Minutes(1)), [&](absl::Time) {
    if (++attempts_ == 2) return absl::OkStatus();
    return BackPressureError("table is full", "replay_full", absl::Seconds(7));
  });
  EXPECT_TRUE(status.ok());
  ASSERT_EQ(clock_.slept.size(), 1u);
  EXPECT_GE(clock_.slept[0], absl::Seconds(7));
  EXPECT_LE(clock_.slept[0], absl::Seconds(10.5));
}

TEST_F(RetryTest, GivesUpBeforeAWaitThatWouldPassTheDeadline) {
  RetryOptions options;
  options.jitter = 0;
  const absl::Status status = Retry(options, Call(absl::Seconds(5)), [&](absl::Time) {
    ++attempts_;
    return BackPressureError("table is full", "replay_full", absl::Seconds(4));
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "insert into replay-0 (2 attempts, deadline reached): table is full");
  EXPECT_EQ(GetReason(status), "replay_full");
  EXPECT_LE(clock_.Now() - absl::UnixEpoch(), absl::Seconds(5));
}

TEST_F(RetryTest, AnAttemptGetsItsOwnDeadlineWithinTheCallers) {
  RetryOptions options;
  options.attempt_timeout = absl::Seconds(10);
  std::vector<absl::Duration> given;
  Retry(options, Call(absl::Seconds(15)), [&](absl::Time deadline) {
    given.push_back(deadline - clock_.Now());
    clock_.SleepUntil(deadline);  // a lost request
    return absl::DeadlineExceededError("no reply");
  }).IgnoreError();
  ASSERT_EQ(given.size(), 2u);
  EXPECT_EQ(given[0], absl::Seconds(10));
  EXPECT_LT(given[1], absl::Seconds(5));
}

TEST_F(RetryTest, AnAttemptThatRanOutOfTimeDoesNotHideTheReasonOfAnEarlierOne) {
  const absl::Status status = Retry(RetryOptions(), Call(absl::Seconds(15)), [&](absl::Time end) {
    if (++attempts_ == 1) return absl::UnavailableError("3 of 8 pairs");
    clock_.SleepUntil(end);
    return absl::DeadlineExceededError("no reply");
  });
  EXPECT_GT(attempts_, 1);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("3 of 8 pairs"));
}

TEST_F(RetryTest, StopEndsTheWaits) {
  StopSignal stop;
  RetryCall call = Call(absl::Hours(1));
  call.stop = &stop;
  const absl::Status status = Retry(RetryOptions(), call, [&](absl::Time) {
    if (++attempts_ == 2) stop.Stop();
    return absl::UnavailableError("down");
  });
  EXPECT_EQ(attempts_, 2);
  EXPECT_EQ(status.message(), "insert into replay-0 (2 attempts, stopping): down");
}

TEST(RetryAfterTest, SurvivesAnnotationAndRoundsUp) {
  absl::Status status = BackPressureError("full", "replay_full", absl::Microseconds(1500));
  status = Annotate(status, "insert");
  EXPECT_EQ(GetRetryAfter(status), absl::Milliseconds(2));
  EXPECT_EQ(GetReason(status), "replay_full");
  EXPECT_FALSE(GetRetryAfter(absl::UnavailableError("x")).has_value());
  EXPECT_EQ(GetReason(absl::UnavailableError("x")), "");
}

}  // namespace
}  // namespace dtrpo::base

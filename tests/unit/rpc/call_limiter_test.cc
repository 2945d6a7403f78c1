#include "common/rpc/call_limiter.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/base/retry_after.h"

namespace dtrpo::rpc {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1000);

TEST(CallLimiterTest, ABurstOfOneSecondPassesAndThenTheRateCounts) {
  CallLimiter limiter(/*calls_per_second=*/10, /*calls_per_peer=*/100);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(limiter.Begin("a", kStart).ok()) << i;
  const absl::Status refused = limiter.Begin("a", kStart);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(base::GetReason(refused), "rate_limited");
  EXPECT_EQ(base::GetRetryAfter(refused), absl::Milliseconds(100));
  EXPECT_TRUE(limiter.Begin("b", kStart).ok());  // another peer's affair
  EXPECT_TRUE(limiter.Begin("a", kStart + absl::Milliseconds(101)).ok());
  EXPECT_FALSE(limiter.Begin("a", kStart + absl::Milliseconds(102)).ok());
}

TEST(CallLimiterTest, ARunningCallTakesAPlaceUntilItEnds) {
  CallLimiter limiter(/*calls_per_second=*/1000, /*calls_per_peer=*/2);
  ASSERT_TRUE(limiter.Begin("a", kStart).ok());
  ASSERT_TRUE(limiter.Begin("a", kStart).ok());
  const absl::Status refused = limiter.Begin("a", kStart);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(base::GetReason(refused), "too_many_calls");
  EXPECT_TRUE(base::GetRetryAfter(refused).has_value());
  limiter.End("a");
  EXPECT_TRUE(limiter.Begin("a", kStart).ok());
}

TEST(CallLimiterTest, AClockThatJumpsBackGivesNothingAndTakesNothing) {
  CallLimiter limiter(/*calls_per_second=*/2, /*calls_per_peer=*/100);
  ASSERT_TRUE(limiter.Begin("a", kStart).ok());
  EXPECT_TRUE(limiter.Begin("a", kStart - absl::Hours(1)).ok());
  EXPECT_FALSE(limiter.Begin("a", kStart - absl::Hours(1)).ok());
}

TEST(CallLimiterTest, PeersThatWentAwayAreForgotten) {
  CallLimiter limiter(/*calls_per_second=*/10, /*calls_per_peer=*/10);
  ASSERT_TRUE(limiter.Begin("stays", kStart).ok());
  for (int i = 0; i < 5000; ++i) {
    const std::string peer = absl::StrCat("peer ", i);
    ASSERT_TRUE(limiter.Begin(peer, kStart + absl::Seconds(i)).ok());
    limiter.End(peer);
  }
  EXPECT_LT(limiter.peers(), 2000);
  limiter.End("stays");  // a running call keeps its peer
}

}  // namespace
}  // namespace dtrpo::rpc

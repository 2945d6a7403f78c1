#include "common/rpc/status_translation.h"

#include <gtest/gtest.h>

#include "common/base/retry_after.h"

namespace dtrpo::rpc {
namespace {

TEST(StatusTranslationTest, EveryCodeAndMessageSurvivesTheRoundTrip) {
  EXPECT_TRUE(FromGrpcStatus(ToGrpcStatus(absl::OkStatus())).ok());
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "batch 3 of job a");
    const absl::Status back = FromGrpcStatus(ToGrpcStatus(status));
    EXPECT_EQ(back.code(), status.code());
    EXPECT_EQ(back.message(), status.message());
  }
}

TEST(StatusTranslationTest, ReasonAndRetryAfterSurviveTheRoundTrip) {
  const absl::Status status =
      base::BackPressureError("table is full", "replay_full", absl::Milliseconds(250));
  const absl::Status back = FromGrpcStatus(ToGrpcStatus(status));
  EXPECT_EQ(base::GetReason(back), "replay_full");
  EXPECT_EQ(base::GetRetryAfter(back), absl::Milliseconds(250));
}

TEST(StatusTranslationTest, AMessageThatFitsIntoNoTrailerIsCutAndSaysSo) {
  const absl::Status back =
      FromGrpcStatus(ToGrpcStatus(absl::InvalidArgumentError(std::string(100000, 'x'))));
  EXPECT_EQ(back.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_LT(back.message().size(), 2100u);
  EXPECT_EQ(back.message().substr(1990), "xxxxxxxxxx... (100000 bytes in all)");
}

TEST(StatusTranslationTest, UnreadableDetailsAreIgnored) {
  const absl::Status status =
      FromGrpcStatus(grpc::Status(grpc::StatusCode::ABORTED, "x", "\xff\xff"));
  EXPECT_EQ(status, absl::AbortedError("x"));
}

}  // namespace
}  // namespace dtrpo::rpc

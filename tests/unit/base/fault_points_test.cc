#include "common/base/fault_points.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>

#include "absl/time/clock.h"

namespace dtrpo::base {
namespace {

class FaultPointsTest : public testing::Test {
 protected:
  void TearDown() override { DisarmFaultPoints(); }
};

absl::Status InsertItem() {
  DTRPO_FAULT_POINT("replay.before_reply");
  return absl::OkStatus();
}

TEST_F(FaultPointsTest, AnUnarmedPointDoesNothingAndCountsNothing) {
  EXPECT_TRUE(InsertItem().ok());
  EXPECT_EQ(FaultPointHits("replay.before_reply"), 0u);
}

TEST_F(FaultPointsTest, ErrorIsReturnedOnTheNamedHitOnly) {
  ASSERT_TRUE(ArmFaultPoints({"replay.before_reply:error@2", "other:error"}).ok());
  EXPECT_TRUE(InsertItem().ok());
  EXPECT_EQ(InsertItem(), absl::UnavailableError("fault point replay.before_reply, hit 2"));
  EXPECT_TRUE(InsertItem().ok());
  EXPECT_EQ(FaultPointHits("replay.before_reply"), 3u);
  EXPECT_EQ(FaultPointHits("other"), 0u);
}

TEST_F(FaultPointsTest, WithoutAHitNumberEveryHitFails) {
  ASSERT_TRUE(ArmFaultPoints({"replay.before_reply:error"}).ok());
  EXPECT_FALSE(InsertItem().ok());
  EXPECT_FALSE(InsertItem().ok());
}

TEST_F(FaultPointsTest, DelayWaitsAndGoesOn) {
  ASSERT_TRUE(ArmFaultPoints({"replay.before_reply:delay:20@1"}).ok());
  const absl::Time start = absl::Now();
  EXPECT_TRUE(InsertItem().ok());
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(20));
}

TEST_F(FaultPointsTest, KillEndsTheProcessBySignal) {
  ASSERT_TRUE(ArmFaultPoints({"replay.before_reply:kill@1"}).ok());
  EXPECT_EXIT(InsertItem().IgnoreError(), testing::KilledBySignal(SIGKILL), "");
}

TEST_F(FaultPointsTest, ABadSpecIsNamedAndArmsNothing) {
  for (const char* spec : {"", ":kill", "x", "x:explode", "x:delay", "x:delay:soon", "x:error@",
                           "x:error@0", "x:error@many"}) {
    const absl::Status status = ArmFaultPoints({"replay.before_reply:error", spec});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << spec;
    EXPECT_NE(status.message().find(absl::StrCat("'", spec, "'")), absl::string_view::npos);
    EXPECT_TRUE(InsertItem().ok());
  }
}

TEST_F(FaultPointsTest, TheEnvironmentArmsSeveral) {
  setenv(kFaultPointsVariable, "a:error, replay.before_reply:error@1", 1);
  EXPECT_TRUE(ArmFaultPointsFromEnvironment().ok());
  EXPECT_FALSE(InsertItem().ok());
  setenv(kFaultPointsVariable, "a:bang", 1);
  EXPECT_FALSE(ArmFaultPointsFromEnvironment().ok());
  unsetenv(kFaultPointsVariable);
  EXPECT_TRUE(ArmFaultPointsFromEnvironment().ok());
}

}  // namespace
}  // namespace dtrpo::base

// A rollout whose job asks a reward service.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/unit/rollout/rollout_harness.h"

namespace dtrpo::rollout {
namespace {

using ::testing::HasSubstr;

TEST_F(RolloutWorkerTest, TheNextPromptsAreSampledWhileAServiceJudges) {
  // The first judgement waits until the next prompts are leased, and their leases are no loss of
  // those under judgement.
  std::atomic<bool> overlapped = false;
  reward_.call = [&](int call) {
    if (call == 1) overlapped = coordinator_.AwaitEvents("lease 4", 2);
    return absl::OkStatus();
  };
  std::vector<v1::PromptLease> leases;
  for (int i = 0; i < 8; ++i) leases.push_back(Lease(i));
  coordinator_.OfferPrompts(leases);
  coordinator_.Assign(AskingAService());
  Start();
  ASSERT_TRUE(coordinator_.AwaitEvents("report", 8));
  EXPECT_TRUE(overlapped);
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(CountEvents(absl::StrCat("report l", i, " STORED")), 1) << i;
  }
  for (const v1::PromptResult& result : coordinator_.results()) {
    EXPECT_EQ(result.samples(), 24);
    EXPECT_GT(result.right_samples(), 0);
    EXPECT_EQ(result.reward_sum(), static_cast<double>(result.right_samples()));
  }
}

TEST_F(RolloutWorkerTest, AServiceThatDiesAndComesBackLosesNoSampleAndScoresNoneZero) {
  reward_.call = [](int call) {
    return call <= 4 ? absl::UnavailableError("restarting") : absl::OkStatus();
  };
  coordinator_.OfferPrompts({Lease(0), Lease(1)});
  coordinator_.Assign(AskingAService());
  Start();
  ASSERT_TRUE(coordinator_.AwaitEvents("report", 2));
  for (const v1::PromptResult& result : coordinator_.results()) {
    EXPECT_EQ(result.outcome(), v1::PromptResult::STORED) << result.error();
    EXPECT_EQ(result.samples(), 24);
    EXPECT_EQ(result.failed_samples(), 0);
  }
  EXPECT_GE(registry_.Sum("dtrpo_rollout_reward_failed_calls_total"), 1);
}

TEST_F(RolloutWorkerTest, APromptWhoseRewardsAllFailFailsWithTheirReason) {
  reward_.judge = [](const v1::RewardItem&, int, v1::RewardResult& result) {
    result.set_error("no reward today");
  };
  v1::Assignment assignment = AskingAService();
  assignment.mutable_spec()->mutable_reward()->mutable_service()->set_attempts(2);
  coordinator_.OfferPrompts({Lease(0)});
  coordinator_.Assign(assignment);
  Start();
  ASSERT_TRUE(coordinator_.AwaitEvents("report l0 FAILED"));
  const v1::PromptResult result = coordinator_.results()[0];
  EXPECT_THAT(result.error(), HasSubstr("no reward today (attempts: 2)"));
  EXPECT_EQ(result.failed_samples(), 24);
  EXPECT_EQ(replay_.inserts(), 0);
}

TEST_F(RolloutWorkerTest, DrainingHandsPromptsBackThatAServiceHasntJudged) {
  reward_.call = [](int) { return absl::UnavailableError("gone"); };
  coordinator_.OfferPrompts({Lease(0), Lease(1)});
  coordinator_.Assign(AskingAService());
  Start();
  while (reward_.calls() < 2) absl::SleepFor(absl::Milliseconds(1));
  worker_->Stop();
  thread_.join();
  EXPECT_EQ(CountEvents("report l0 RETURNED"), 1);
  EXPECT_EQ(CountEvents("report l1 RETURNED"), 1);
}

}  // namespace
}  // namespace dtrpo::rollout

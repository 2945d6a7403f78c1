#include "services/learner/batch_feeder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "absl/strings/match.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/retry_after.h"
#include "tests/unit/learner/fake_peers.h"

namespace dtrpo::learner {
namespace {

using ::testing::HasSubstr;

class BatchFeederTest : public ::testing::Test {
 protected:
  void Start(int64_t first, int64_t last) {
    feeder_ = std::make_unique<BatchFeeder>(
        BatchFeeder::Options{.first_step = first, .last_step = last, .plan = {}}, &peers_,
        base::RealClock(), &waits_);
  }
  absl::StatusOr<FedBatch> Next() { return feeder_->Next(absl::Now() + absl::Seconds(10)); }

  FakePeers peers_;
  base::WaitStateRegistry waits_;
  std::unique_ptr<BatchFeeder> feeder_;
};

TEST_F(BatchFeederTest, BatchesComeInOrderWithTwoScoresForEachPair) {
  Start(3, 5);
  for (int64_t step = 3; step <= 5; ++step) {
    const auto fed = Next();
    ASSERT_TRUE(fed.ok()) << fed.status();
    EXPECT_EQ(fed->batch.number, step);
    EXPECT_EQ(fed->batch.items.size(), 2u);
    EXPECT_EQ(fed->reference.size(), 4u);
  }
  EXPECT_TRUE(absl::IsOutOfRange(Next().status()));
}

TEST_F(BatchFeederTest, TheLastBatchOfTheDataIsTheLastOneAskedFor) {
  peers_.last_batch = 2;
  std::atomic<bool> asked_beyond = false;
  peers_.on_call = [&](const std::string& call) {
    if (call == "batch 3") asked_beyond = true;
    return absl::OkStatus();
  };
  Start(1, 9);
  EXPECT_TRUE(Next().ok());
  EXPECT_TRUE(Next()->batch.last);
  EXPECT_TRUE(absl::IsOutOfRange(Next().status()));
  EXPECT_FALSE(asked_beyond);
}

// The data may end after the batch that turns out to be the last was handed out.
TEST_F(BatchFeederTest, AnAnswerThatTheDataHasEndedEndsTheFeed) {
  peers_.on_call = [](const std::string& call) {
    return call == "batch 2" ? absl::OutOfRangeError("end_of_data") : absl::OkStatus();
  };
  Start(1, 9);
  EXPECT_TRUE(Next().ok());
  EXPECT_TRUE(absl::IsOutOfRange(Next().status()));
}

TEST_F(BatchFeederTest, WhatMayPassIsAskedAgainAndSeenAsAWait) {
  std::atomic<int> refusals = 0;
  std::atomic<bool> seen = false;
  peers_.on_call = [&](const std::string& call) {
    if (refusals >= 4) return absl::OkStatus();
    ++refusals;
    for (const base::WaitState& wait : waits_.Snapshot()) {
      seen = seen || (wait.what == "reference scores of batch 1" && wait.on_whom == "reference");
    }
    return refusals <= 2 || absl::StartsWith(call, "scores") ? absl::UnavailableError("not yet")
                                                             : absl::OkStatus();
  };
  Start(1, 1);
  EXPECT_TRUE(Next().ok());
  EXPECT_TRUE(seen);
  EXPECT_TRUE(waits_.Snapshot().empty());
}

TEST_F(BatchFeederTest, AnErrorThatDoesntPassIsHandedOutAfterTheBatchesBeforeIt) {
  peers_.on_call = [](const std::string& call) {
    return call == "scores 2" ? absl::DataLossError("got 3 of 4") : absl::OkStatus();
  };
  Start(1, 9);
  EXPECT_TRUE(Next().ok());
  EXPECT_EQ(Next().status(), absl::DataLossError("got 3 of 4"));
}

TEST_F(BatchFeederTest, ScoresThatDontFitTheBatchAreAnError) {
  peers_.spoil_scores = [](int64_t, std::vector<std::vector<float>>& scores) { scores.pop_back(); };
  Start(1, 1);
  EXPECT_THAT(std::string(Next().status().message()), HasSubstr("3 scores for 4 answers"));
}

TEST_F(BatchFeederTest, NextEndsAtItsDeadlineWhileABatchIsUnderWay) {
  absl::Notification release;
  peers_.on_call = [&](const std::string&) {
    release.WaitForNotificationWithTimeout(absl::Seconds(10));
    return absl::OkStatus();
  };
  Start(1, 1);
  EXPECT_TRUE(
      absl::IsDeadlineExceeded(feeder_->Next(absl::Now() + absl::Milliseconds(20)).status()));
  release.Notify();
  EXPECT_TRUE(Next().ok());
}

TEST_F(BatchFeederTest, AStoreThatWantsACheckpointIsNoticedWhileTheFeederAsksOn) {
  std::atomic<bool> full = true;
  peers_.on_call = [&](const std::string& call) {
    absl::Status status;
    if (full && call == "batch 1") {
      status = absl::UnavailableError("full");
      base::SetReason(status, "checkpoint_wanted");
    }
    return status;
  };
  Start(1, 1);
  while (!feeder_->checkpoint_wanted()) absl::SleepFor(absl::Milliseconds(1));
  full = false;
  EXPECT_TRUE(Next().ok());
  EXPECT_FALSE(feeder_->checkpoint_wanted());
}

TEST_F(BatchFeederTest, EndsWhileItWaitsForItemsOrForItsTaker) {
  peers_.on_call = [](const std::string&) { return absl::UnavailableError("not enough items"); };
  Start(1, 9);
  absl::SleepFor(absl::Milliseconds(50));  // into the back-off
  feeder_.reset();

  peers_.on_call = nullptr;
  Start(1, 9);
  absl::SleepFor(absl::Milliseconds(50));  // nobody takes: the queue is full
  feeder_.reset();
}

}  // namespace
}  // namespace dtrpo::learner

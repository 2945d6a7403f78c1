// Over a real connection, against a service that answers as a test says.
#include "common/wire/reward_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/fake_metrics.h"
#include "common/base/retry_after.h"
#include "common/rpc/channel_factory.h"
#include "common/rpc/rpc_server.h"
#include "tests/support/fake_reward.h"

namespace dtrpo::wire {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

class RewardClientTest : public ::testing::Test {
 protected:
  RewardClientTest() {
    auto server = rpc::RpcServer::Start({}, {&service_});
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    options_.target = "reward service";
    options_.attempts = 3;
    options_.backoff.initial_backoff = absl::Milliseconds(1);
    options_.failed_calls = registry_.GetCounter("failed_calls_total", "");
  }

  reward::Judgements Ask(
      const std::vector<std::string>& answers, const std::string& address = "",
      const reward::KeepGoing& keep_going = [] { return true; }) {
    const auto channel =
        channels_.Create(address.empty() ? server_->address().ToString() : address);
    EXPECT_TRUE(channel.ok()) << channel.status();
    const auto client = MakeRewardClient(*channel, options_);
    std::vector<reward::AnsweredQuestion> items;
    for (const std::string& answer : answers) items.push_back({&question_, {answer, true, 2}});
    return client->JudgeAll("mine", items, keep_going);
  }

  support::FakeReward service_;
  base::FakeMetrics registry_;
  std::unique_ptr<rpc::RpcServer> server_;
  rpc::ChannelFactory channels_{rpc::ChannelOptions()};
  RewardClientOptions options_;
  const reward::Question question_ = {
      .id = "q", .prompt = "3+4=", .expected = "7", .data_json = R"({"id": "q"})"};
};

TEST_F(RewardClientTest, EveryAnswerGetsItsOwnJudgement) {
  options_.items_per_call = 3;
  std::vector<std::string> answers;
  for (int i = 0; i < 40; ++i) answers.push_back(absl::StrCat(i));
  const reward::Judgements judgements = Ask(answers);
  ASSERT_EQ(judgements.size(), 40u);
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(judgements[i].ok()) << judgements[i].status();
    EXPECT_EQ(judgements[i]->reward, i == 7 ? 1 : 0);
    EXPECT_EQ(judgements[i]->correct, i == 7);
  }
  EXPECT_EQ(judgements[0]->reason, "as the fake says");
  EXPECT_EQ(service_.calls(), 14);
  const v1::JudgeRequest request = service_.last();
  EXPECT_EQ(request.reward(), "mine");
  EXPECT_EQ(request.items(0).prompt(), "3+4=");
  EXPECT_EQ(request.items(0).data_json(), R"({"id": "q"})");
  EXPECT_TRUE(request.items(0).finished());
  EXPECT_EQ(request.items(0).tokens(), 2);
}

TEST_F(RewardClientTest, AnAnswerThatFailedIsAskedAgainAloneAndNeverBecomesAZero) {
  service_.judge = [](const v1::RewardItem& item, int before, v1::RewardResult& result) {
    if (item.answer() == "late" && before < 2) {
      result.set_error("timed out");
    } else if (item.answer() == "broken") {
      result.set_error("it broke");
    } else {
      result.mutable_judgement()->set_reward(5);
    }
  };
  const reward::Judgements judgements = Ask({"fine", "late", "broken"});
  EXPECT_EQ(judgements[0]->reward, 5);
  ASSERT_TRUE(judgements[1].ok()) << judgements[1].status();
  EXPECT_EQ(judgements[1]->reward, 5);
  EXPECT_EQ(judgements[2].status().message(),
            "reward 'mine' from reward service: it broke (attempts: 3)");
  EXPECT_EQ(service_.calls(), 3);
  EXPECT_EQ(service_.last().items_size(), 2) << "what was judged isn't judged again";
  EXPECT_EQ(registry_.Value("failed_calls_total"), 3);
}

TEST_F(RewardClientTest, WhatIsNoNumberIsAFailure) {
  service_.judge = [](const v1::RewardItem& item, int, v1::RewardResult& result) {
    if (item.answer() == "unset") return;
    result.mutable_judgement()->set_reward(
        item.answer() == "nan" ? std::nan("") : std::numeric_limits<double>::infinity());
  };
  const reward::Judgements judgements = Ask({"nan", "inf", "unset"});
  for (const auto& judgement : judgements) EXPECT_FALSE(judgement.ok());
  EXPECT_THAT(std::string(judgements[0].status().message()), HasSubstr("nan, no number"));
  EXPECT_THAT(std::string(judgements[1].status().message()), HasSubstr("inf, no number"));
  EXPECT_THAT(std::string(judgements[2].status().message()), HasSubstr("no judgement"));
}

TEST_F(RewardClientTest, ACallThatFailsIsAnAttemptOfAllItsAnswers) {
  service_.call = [](int number) {
    return number <= 2 ? absl::InternalError("crashed") : absl::OkStatus();
  };
  EXPECT_TRUE(Ask({"7"})[0].ok());
  service_.call = [](int) { return absl::InternalError("crashed"); };
  EXPECT_THAT(std::string(Ask({"7"})[0].status().message()), HasSubstr("crashed (attempts: 3)"));
}

TEST_F(RewardClientTest, AServiceThatIsAwayIsWaitedForWithoutCountingAttempts) {
  service_.call = [](int number) {
    return number <= 20 ? absl::UnavailableError("starting") : absl::OkStatus();
  };
  options_.backoff.max_backoff = absl::Milliseconds(5);
  const reward::Judgements judgements = Ask({"7"});
  ASSERT_TRUE(judgements[0].ok()) << judgements[0].status();
  EXPECT_EQ(service_.calls(), 21);
}

TEST_F(RewardClientTest, AServiceThatStaysAwayFailsItsAnswersInTheEnd) {
  options_.outage = absl::Milliseconds(300);
  const std::string address = server_->address().ToString();
  server_->Shutdown(absl::Now());
  const reward::Judgements judgements = Ask({"7"}, address);
  EXPECT_THAT(std::string(judgements[0].status().message()),
              MatchesRegex("reward 'mine' from reward service: .* for 300ms"));
}

TEST_F(RewardClientTest, AnUnknownRewardIsNotAskedForAgain) {
  service_.call = [](int) { return absl::NotFoundError("no reward 'mine'"); };
  EXPECT_EQ(Ask({"7"})[0].status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(service_.calls(), 1);
}

TEST_F(RewardClientTest, WhatNobodyWantsAnyMoreIsCancelledUnderWay) {
  absl::Notification asked, release;
  service_.call = [&](int) {
    asked.Notify();
    release.WaitForNotification();
    return absl::OkStatus();
  };
  options_.timeout = absl::Minutes(5);
  const reward::Judgements judgements = Ask({"7"}, "", [&] { return !asked.HasBeenNotified(); });
  EXPECT_EQ(judgements[0].status().code(), absl::StatusCode::kCancelled);
  release.Notify();
  server_->Shutdown(absl::Now() + absl::Minutes(1));  // the call waits on what ends here
}

}  // namespace
}  // namespace dtrpo::wire

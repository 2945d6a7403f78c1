#include "services/rollout/rollout_worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/retry_after.h"
#include "tests/unit/rollout/rollout_harness.h"

namespace dtrpo::rollout {
namespace {

using ::testing::HasSubstr;

TEST_F(RolloutWorkerTest, TellsThatItHoldsVersionZeroOnceTheBaseModelIsLoaded) {
  coordinator_.Assign(Running());
  Start();
  EXPECT_TRUE(coordinator_.AwaitHeartbeat([](const v1::HeartbeatRequest& beat) {
    return beat.job_id() == kJob && beat.version() == 0 && beat.versions_held_size() == 1;
  }));
}

TEST_F(RolloutWorkerTest, EveryPromptIsInReplayBeforeItIsReportedAndReportedOnce) {
  coordinator_.OfferPrompts({Lease(0), Lease(1), Lease(2, "8"), Lease(3), Lease(4), Lease(5)});
  coordinator_.Assign(Running());
  Start();
  ASSERT_TRUE(coordinator_.AwaitEvents("report", 6));
  ASSERT_TRUE(AwaitState("no prompts"));
  const std::vector<std::string> events = coordinator_.events();
  const auto position = [&](const std::string& event) {
    EXPECT_EQ(CountEvents(event), 1) << event;
    return std::find(events.begin(), events.end(), event) - events.begin();
  };
  for (const int prompt : {0, 1, 3, 4, 5}) {
    EXPECT_LT(position(absl::StrCat("insert ", prompt)),
              position(absl::StrCat("report l", prompt, " STORED")));
  }
  EXPECT_LT(position("insert 2 no pair"), position("report l2 NO_PAIR"));
  EXPECT_EQ(CountEvents("lease 4"), 1) << "no more than asked for";
  EXPECT_EQ(CountEvents("lease 2"), 1);

  for (const v1::InsertRequest& request : replay_.requests()) {
    EXPECT_EQ(request.job().job_id(), kJob);
    EXPECT_EQ(request.no_pair(), request.pairs().empty());
  }
  for (const v1::PromptResult& result : coordinator_.results()) {
    EXPECT_EQ(result.samples(), 24);
    EXPECT_GT(result.tokens(), 0);
    EXPECT_GT(result.forwards(), 0);
    EXPECT_EQ(result.version(), 0);
  }
  EXPECT_EQ(
      registry_.Value("dtrpo_rollout_prompts_total", {{"outcome", "stored"}, {"run", "add-1"}}), 5);
}

TEST_F(RolloutWorkerTest, AReportWhoseReplyWasLostIsRepeatedAndItsInsertIsNot) {
  coordinator_.LoseReplies(2);
  coordinator_.OfferPrompts({Lease(0)});
  coordinator_.Assign(Running());
  Start();
  ASSERT_TRUE(coordinator_.AwaitEvents("report l0 STORED", 3));
  ASSERT_TRUE(AwaitState("no prompts"));
  EXPECT_EQ(CountEvents("report l0 STORED"), 3);
  EXPECT_EQ(replay_.inserts(), 1);
}

TEST_F(RolloutWorkerTest, AFullReplayStoreIsWaitedFor) {
  replay_.answer = [](int inserts) {
    return inserts < 4 ? base::BackPressureError("full", "replay_full", absl::Milliseconds(20))
                       : absl::OkStatus();
  };
  coordinator_.OfferPrompts({Lease(0)});
  coordinator_.Assign(Running());
  Start();
  ASSERT_TRUE(coordinator_.AwaitEvents("report"));
  EXPECT_EQ(CountEvents("report l0 STORED"), 1);
  EXPECT_EQ(replay_.inserts(), 5);
}

TEST_F(RolloutWorkerTest, AnInsertThatReplayRefusesFailsThePromptWithItsWords) {
  replay_.answer = [](int) { return absl::InvalidArgumentError("pairs[0]: chosen.seed"); };
  coordinator_.OfferPrompts({Lease(0)});
  coordinator_.Assign(Running());
  Start();
  ASSERT_TRUE(coordinator_.AwaitEvents("report l0 FAILED"));
  EXPECT_THAT(coordinator_.results()[0].error(), HasSubstr("pairs[0]: chosen.seed"));
}

TEST_F(RolloutWorkerTest, AStoreThatLostTheJobIsNoFaultOfThePrompt) {
  replay_.answer = [](int) { return absl::NotFoundError("unknown job"); };
  coordinator_.OfferPrompts({Lease(0)});
  coordinator_.Assign(Running());
  Start();
  EXPECT_TRUE(coordinator_.AwaitEvents("report l0 RETURNED"));
}

TEST_F(RolloutWorkerTest, ABadPromptFailsAloneWithItsWords) {
  v1::PromptLease bad = Lease(1);
  bad.set_prompt_json("{");
  coordinator_.OfferPrompts({Lease(0), bad});
  coordinator_.Assign(Running());
  Start();
  ASSERT_TRUE(coordinator_.AwaitEvents("report", 2));
  EXPECT_EQ(CountEvents("report l0 STORED"), 1);
  EXPECT_EQ(CountEvents("report l1 FAILED"), 1);
  for (const v1::PromptResult& result : coordinator_.results()) {
    EXPECT_EQ(result.error().empty(), result.lease_id() == "l0") << result.error();
  }
}

TEST_F(RolloutWorkerTest, DrainingHandsPromptsBackThatAreBeingSampled) {
  max_new_tokens_ = 2000;
  WriteUnigramCheckpoint(path_, {{seven_, 0.0}});  // it never stops by itself
  coordinator_.OfferPrompts({Lease(0), Lease(1), Lease(2)});
  coordinator_.Assign(Running());
  Start();
  ASSERT_TRUE(coordinator_.AwaitEvents("lease 3"));
  ASSERT_TRUE(AwaitState("sampling 3 prompts at version 0"));
  worker_->Stop();
  thread_.join();
  for (const int prompt : {0, 1, 2}) {
    EXPECT_EQ(CountEvents(absl::StrCat("report l", prompt, " RETURNED")), 1);
  }
  EXPECT_EQ(replay_.inserts(), 0);
}

TEST_F(RolloutWorkerTest, DrainingHandsPromptsBackThatAFullStoreKeepsWaiting) {
  replay_.answer = [](int) {
    return base::BackPressureError("full", "replay_full", absl::Milliseconds(20));
  };
  coordinator_.OfferPrompts({Lease(0), Lease(1)});
  coordinator_.Assign(Running());
  Start();
  while (replay_.inserts() < 3) absl::SleepFor(absl::Milliseconds(1));
  worker_->Stop();
  thread_.join();
  EXPECT_EQ(CountEvents("report l0 RETURNED"), 1);
  EXPECT_EQ(CountEvents("report l1 RETURNED"), 1);
}

TEST_F(RolloutWorkerTest, AnEvaluationUsesItsVersionAndTrainingTheNewest) {
  v1::Assignment assignment = Running();
  assignment.set_newest_version(1);
  assignment.add_pinned_versions(0);
  coordinator_.Assign(assignment);
  Start();
  ASSERT_TRUE(AwaitState("no prompts"));
  PushVersion(1);
  coordinator_.OfferPrompts({Evaluation(0, 0), Evaluation(1, 1), Evaluation(2, 9), Lease(3)});
  ASSERT_TRUE(coordinator_.AwaitEvents("report", 4));
  std::map<std::string, v1::PromptResult> results;
  for (const v1::PromptResult& result : coordinator_.results()) {
    results[result.lease_id()] = result;
  }
  // Version 0 may stop anywhere, version 1 never does.
  EXPECT_EQ(results["l0"].outcome(), v1::PromptResult::EVALUATED);
  EXPECT_EQ(results["l0"].version(), 0);
  EXPECT_EQ(results["l0"].sample().expected(), "7");
  EXPECT_GT(results["l0"].sample().denoising_size(), 0);
  EXPECT_EQ(results["l1"].outcome(), v1::PromptResult::EVALUATED);
  EXPECT_EQ(results["l1"].tokens(), 10);
  EXPECT_FALSE(results["l1"].has_sample()) << "only where it is asked for";
  EXPECT_EQ(results["l2"].outcome(), v1::PromptResult::RETURNED) << "version 9 isn't here";
  EXPECT_EQ(results["l3"].outcome(), v1::PromptResult::NO_PAIR);
  EXPECT_EQ(results["l3"].version(), 1);
  EXPECT_EQ(replay_.inserts(), 1) << "evaluations aren't stored";
}

TEST_F(RolloutWorkerTest, VersionsThatNobodyNeedsAreLetGo) {
  v1::Assignment assignment = Running();
  assignment.add_pinned_versions(1);
  coordinator_.Assign(assignment);
  Start();
  ASSERT_TRUE(AwaitState("no prompts"));
  for (int64_t version = 1; version <= 3; ++version) PushVersion(version);
  assignment.set_newest_version(3);
  coordinator_.Assign(assignment);
  EXPECT_TRUE(coordinator_.AwaitHeartbeat([](const v1::HeartbeatRequest& beat) {
    return beat.version() == 3 && beat.versions_held_size() == 2 && beat.versions_held(0) == 1;
  }));
}

TEST_F(RolloutWorkerTest, AJobThatIsOverIsLetGo) {
  coordinator_.Assign(Running());
  Start();
  ASSERT_TRUE(AwaitState("no prompts"));
  v1::Assignment over = Running();
  over.set_state(v1::SUCCEEDED);
  coordinator_.Assign(over);
  EXPECT_TRUE(coordinator_.AwaitHeartbeat([](const v1::HeartbeatRequest& beat) {
    return beat.state() == "idle" && beat.job_id().empty() && beat.version() == -1;
  }));
  EXPECT_EQ(versions_.Newest(), nullptr);
}

TEST_F(RolloutWorkerTest, TheJobIsServedToGenerateCallsFromItsLoadingToItsEnd) {
  EXPECT_EQ(served_job_.Get().status().message(), "this rollout works on no job");
  coordinator_.Assign(Running());
  Start();
  ASSERT_TRUE(AwaitState("no prompts"));
  const auto served = served_job_.Get();
  ASSERT_TRUE(served.ok()) << served.status();
  EXPECT_EQ((*served)->job_id, kJob);
  EXPECT_EQ((*served)->spec.sampling.unmask, "steps:2");
  EXPECT_TRUE((*served)->policies->Get(versions_.Newest()).ok());
  EXPECT_TRUE((*served)->encoder->EncodeText("7").ok());
  v1::Assignment over = Running();
  over.set_state(v1::SUCCEEDED);
  coordinator_.Assign(over);
  ASSERT_TRUE(AwaitState("idle"));
  EXPECT_EQ(served_job_.Get().status().message(), "this rollout works on no job");
}

TEST_F(RolloutWorkerTest, AModelThatCantBeLoadedIsNamedInTheWorkersState) {
  v1::Assignment assignment = Running();
  assignment.mutable_spec()->mutable_model()->set_path(path_ + "/nowhere");
  coordinator_.Assign(assignment);
  Start();
  EXPECT_TRUE(AwaitState(path_ + "/nowhere"));
  EXPECT_THAT(std::string(served_job_.Get().status().message()), HasSubstr("job add-1"));
}

}  // namespace
}  // namespace dtrpo::rollout

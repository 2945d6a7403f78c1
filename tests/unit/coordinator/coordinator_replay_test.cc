// What the coordinator tells the replay store about a job, and what it makes of the answers.
#include <gmock/gmock.h>

#include "services/coordinator/coordinator.h"
#include "tests/unit/coordinator/coordinator_harness.h"

namespace dtrpo::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using CoordinatorReplayTest = CoordinatorHarness;

TEST_F(CoordinatorReplayTest, ReplayIsOpenedWithWhatTheJobNeeds) {
  const std::string id = Run();
  ASSERT_EQ(replay_.opened.count(id), 1u);
  const v1::ReplayJobOptions& options = replay_.opened[id];
  EXPECT_EQ(options.pairs_per_batch(), 2);
  EXPECT_EQ(options.total_steps(), 3);
  EXPECT_EQ(options.checkpoint_every(), 50);
  EXPECT_GT(options.max_items(), 0);
}

TEST_F(CoordinatorReplayTest, AJobThatReplayRefusesFailsWithReplaysReason) {
  replay_.open_answer = absl::InvalidArgumentError("max_items is too small");
  const std::string id = Submit();
  driver_.Step();
  EXPECT_EQ(State(id), v1::FAILED);
  EXPECT_THAT(Get(id).reason(), HasSubstr("max_items is too small"));
}

TEST_F(CoordinatorReplayTest, AReplayThatIsAwayIsAskedAgain) {
  replay_.failure = absl::UnavailableError("connection refused");
  const std::string id = Submit();
  driver_.Step();
  driver_.Step();
  EXPECT_EQ(State(id), v1::PENDING);
  replay_.failure = absl::OkStatus();
  driver_.Step();
  EXPECT_EQ(replay_.opened.count(id), 1u);
  EXPECT_EQ(registry_.Value("dtrpo_coordinator_replay_failures_total"), 2);
}

TEST_F(CoordinatorReplayTest, AShardThatIsAwayIsNamedAsLongAsItIs) {
  const std::string id = Run();
  replay_.failure = absl::UnavailableError("ended prompts from replay shard 1 10.0.0.7:4000: away");
  driver_.Step();
  EXPECT_EQ(State(id), v1::RUNNING);
  EXPECT_THAT(Get(id).reason(), HasSubstr("replay shard 1 10.0.0.7:4000"));
  replay_.failure = absl::OkStatus();
  driver_.Step();
  EXPECT_EQ(Get(id).reason(), "");
}

TEST_F(CoordinatorReplayTest, ReplayLearnsTheNewestVersionOnce) {
  const std::string id = Run();
  driver_.Step();
  ASSERT_TRUE(Publish(id, 1).ok());
  for (int i = 0; i < 3; ++i) driver_.Step();
  ASSERT_EQ(replay_.marks.size(), 2u);  // version 0 when the job was opened, then 1
  EXPECT_EQ(replay_.marks[1].version, 1);
  EXPECT_FALSE(replay_.marks[1].end_of_data);
}

TEST_F(CoordinatorReplayTest, WhatReplayEvictedIsLeasedAgainWithTheNextAttempt) {
  const std::string id = Run();
  Evaluate(id, true);
  const v1::PromptLease lease = Lease(id, 1).leases(0);
  Report(id, lease, v1::PromptResult::STORED);
  replay_.AddEvent(v1::PromptEvent::STORED, lease);
  replay_.AddEvent(v1::PromptEvent::EVICTED, lease);
  driver_.Step();
  driver_.Step();
  const v1::PromptLease again = Lease(id, 1).leases(0);
  EXPECT_EQ(again.prompt_index(), lease.prompt_index());
  EXPECT_EQ(again.prompt_attempt(), 1);
  EXPECT_EQ(Get(id).prompts().evicted_and_leased_again(), 1);
}

TEST_F(CoordinatorReplayTest, ANearlyFullStoreAsksTheLearnerForACheckpoint) {
  const std::string id = Run();
  EXPECT_FALSE(ReportStep(id, 1)->checkpoint_now());
  replay_.stats.set_items(9);
  replay_.stats.set_max_items(10);
  clock_.Advance(absl::Seconds(2));
  driver_.Step();
  EXPECT_TRUE(ReportStep(id, 2)->checkpoint_now());
}

TEST_F(CoordinatorReplayTest, AStoreThatLostItsDataMeansANewAttemptFromTheCheckpoint) {
  const std::string id = Run();
  Evaluate(id, true);
  const v1::PromptLease lease = Lease(id, 1).leases(0);
  Report(id, lease, v1::PromptResult::STORED);
  ASSERT_TRUE(Publish(id, 1).ok());
  ASSERT_TRUE(Checkpoint(id, 1, "out/step-1").ok());
  driver_.Step();
  replay_.opened.clear();  // restarted
  driver_.Step();
  EXPECT_EQ(State(id), v1::RESTARTING);
  EXPECT_EQ(Beat(learner_, id).job().job_id(), "");  // lets go of the attempt
  driver_.Step();
  EXPECT_EQ(replay_.opened[id].first_batch(), 2);
  EXPECT_EQ(State(id), v1::RUNNING);
  const v1::Assignment assignment = Beat(learner_);
  EXPECT_EQ(assignment.job().attempt(), 2);
  EXPECT_EQ(assignment.resume_checkpoint(), "out/step-1");
  driver_.Step();
  EXPECT_EQ(replay_.marks.back().version, 1);  // told again
  EXPECT_EQ(Lease(id, 1, 1).leases(0).prompt_index(), lease.prompt_index());
}

TEST_F(CoordinatorReplayTest, TheEndOfDataIsToldOnceNobodyIsAtWork) {
  v1::JobSpec spec = Spec();
  spec.mutable_data()->set_epochs(1);
  spec.mutable_training()->set_max_staleness(1000);
  spec.mutable_training()->set_steps(1000);
  Write("p.jsonl", "{\"id\": 1}\n{\"id\": 2}\n");
  const std::string id = Run(spec);
  Evaluate(id, true);
  const v1::LeasePromptsResponse leases = Lease(id, 10);
  ASSERT_EQ(leases.leases_size(), 2);
  EXPECT_THAT(Lease(id, 10).reason(), HasSubstr("handed out"));
  Report(id, leases.leases(0), v1::PromptResult::STORED);
  coordinator_.Tick();
  driver_.Step();
  EXPECT_FALSE(replay_.marks.back().end_of_data);
  Report(id, leases.leases(1), v1::PromptResult::NO_PAIR);
  driver_.Step();
  EXPECT_TRUE(replay_.marks.back().end_of_data);
}

TEST_F(CoordinatorReplayTest, AClosedJobIsDeletedUntilTheStoreConfirms) {
  const std::string id = Run();
  v1::CancelJobRequest cancel;
  cancel.set_job_id(id);
  cancel.set_reason("wrong data");
  ASSERT_TRUE(coordinator_.CancelJob(cancel).ok());
  EXPECT_EQ(State(id), v1::JOB_CANCELLED);
  EXPECT_EQ(Get(id).reason(), "wrong data");
  replay_.failure = absl::UnavailableError("away");
  driver_.Step();
  driver_.Step();
  EXPECT_TRUE(replay_.closed.empty());
  replay_.failure = absl::OkStatus();
  driver_.Step();
  driver_.Step();
  EXPECT_THAT(replay_.closed, ElementsAre(id));
  EXPECT_EQ(replay_.close_calls, 3);
}

}  // namespace
}  // namespace dtrpo::coordinator

// A job's learner, its attempts, and how the job ends.
#include <gmock/gmock.h>

#include "common/base/retry_after.h"
#include "services/coordinator/coordinator.h"
#include "tests/unit/coordinator/coordinator_harness.h"

namespace dtrpo::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using CoordinatorLearnerTest = CoordinatorHarness;

// ------------------------------------------------------------------ the learner

TEST_F(CoordinatorLearnerTest, ALearnerThatFallsSilentIsReplacedByTheNextAttempt) {
  const std::string id = Run();
  ASSERT_TRUE(Checkpoint(id, 1, "out/step-1").ok());
  Pass(absl::Seconds(7), /*silent=*/{learner_});
  EXPECT_EQ(State(id), v1::RESTARTING);
  const std::string old = learner_;
  learner_ = Register(kLearner, "b");
  EXPECT_EQ(State(id), v1::RUNNING);
  const v1::Assignment assignment = Beat(learner_);
  EXPECT_EQ(assignment.job().attempt(), 2);
  EXPECT_EQ(assignment.resume_checkpoint(), "out/step-1");
  // The learner of the attempt before is refused from now on.
  EXPECT_EQ(base::GetReason(Publish(id, 1, /*attempt=*/1)), "stale_attempt");
  EXPECT_EQ(base::GetReason(ReportStep(id, 1, 1).status()), "stale_attempt");
  EXPECT_EQ(base::GetReason(Checkpoint(id, 9, "elsewhere", 1)), "stale_attempt");
  EXPECT_EQ(base::GetReason(Finish(id, true, "", 1)), "stale_attempt");
  EXPECT_TRUE(Publish(id, 1, /*attempt=*/2).ok());
}

TEST_F(CoordinatorLearnerTest, ALearnerThatWasRestartedIsNoticedAtOnce) {
  const std::string id = Run();
  learner_ = Register(kLearner, "b");  // another process at the same address
  EXPECT_EQ(State(id), v1::RUNNING);
  EXPECT_EQ(Get(id).attempt(), 2);
  learner_ = Register(kLearner, "c");  // max_job_attempts is 2
  EXPECT_EQ(State(id), v1::FAILED);
}

TEST_F(CoordinatorLearnerTest, ACheckpointOfALowerStepIsRefused) {
  const std::string id = Run();
  ASSERT_TRUE(Checkpoint(id, 2, "out/step-2").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(Checkpoint(id, 1, "out/step-1")));
  EXPECT_TRUE(Checkpoint(id, 2, "out/step-2").ok());
  EXPECT_EQ(Get(id).checkpoint(), "out/step-2");
}

TEST_F(CoordinatorLearnerTest, AManifestOfAnotherJobIsRefused) {
  const std::string id = Run();
  v1::RegisterVersionRequest request;
  request.mutable_job()->set_job_id(id);
  request.mutable_job()->set_attempt(1);
  request.mutable_manifest()->set_job_id("other-9");
  request.mutable_manifest()->set_sha256("x");
  EXPECT_TRUE(absl::IsInvalidArgument(coordinator_.RegisterVersion(request).status()));
}

TEST_F(CoordinatorLearnerTest, StepsBecomeTheCurveOfTheJob) {
  const std::string id = Run();
  ASSERT_TRUE(ReportStep(id, 1).ok());
  clock_.Advance(absl::Seconds(2));
  ASSERT_TRUE(ReportStep(id, 2).ok());
  const v1::JobStatus status = Get(id, /*steps=*/true);
  EXPECT_EQ(status.step(), 2);
  ASSERT_EQ(status.steps_size(), 2);
  EXPECT_DOUBLE_EQ(status.seconds_left(), 2.0);
  EXPECT_EQ(Get(id).steps_size(), 0);
  EXPECT_TRUE(absl::IsInvalidArgument(ReportStep(id, 4).status()));
}

// ------------------------------------------------------------------ ending

TEST_F(CoordinatorLearnerTest, AJobSucceedsAfterTheFinalEvaluation) {
  const std::string id = Run();
  Evaluate(id, false);
  const v1::PromptLease used = Lease(id, 1).leases(0);
  Report(id, used, v1::PromptResult::STORED);
  ASSERT_TRUE(Publish(id, 1).ok());
  replay_.AddEvent(v1::PromptEvent::STORED, used);
  replay_.AddEvent(v1::PromptEvent::CONSUMED, used);
  EXPECT_FALSE(Beat(rollout_, id).training_finished());
  ASSERT_TRUE(Finish(id, true).ok());
  EXPECT_EQ(State(id), v1::RUNNING);
  EXPECT_EQ(Get(id).reason(), "final evaluation");
  EXPECT_TRUE(Beat(rollout_, id).training_finished());  // hand training prompts back
  versions_ = {0, 1};
  Evaluate(id, true);
  EXPECT_EQ(State(id), v1::RUNNING);  // the last events aren't known yet
  clock_.Advance(absl::Milliseconds(1));
  driver_.Step();
  EXPECT_EQ(State(id), v1::SUCCEEDED);
  const v1::JobStatus status = Get(id);
  EXPECT_EQ(status.checkpoint(), "out/final");
  EXPECT_EQ(status.prompts().consumed(), 1);
  ASSERT_EQ(status.evaluations_size(), 2);
  EXPECT_EQ(status.evaluations(0).correct(), 0);
  EXPECT_EQ(status.evaluations(1).version(), 1);
  EXPECT_EQ(status.evaluations(1).correct(), 2);
  driver_.Step();
  EXPECT_THAT(replay_.closed, ElementsAre(id));
  EXPECT_EQ(Beat(learner_, id).job().job_id(), "");  // idle again
}

TEST_F(CoordinatorLearnerTest, WithoutHeldOutPromptsAJobSucceedsWithoutEvaluation) {
  v1::JobSpec spec = Spec();
  spec.mutable_data()->clear_heldout();
  const std::string id = Run(spec);
  ASSERT_TRUE(Finish(id, true).ok());
  driver_.Step();
  EXPECT_EQ(State(id), v1::SUCCEEDED);
  EXPECT_EQ(Get(id).evaluations_size(), 0);
}

TEST_F(CoordinatorLearnerTest, AFinalEvaluationThatCantBeHadIsSaidInTheReason) {
  const std::string id = Run();
  Evaluate(id, true);
  ASSERT_TRUE(Publish(id, 1).ok());
  ASSERT_TRUE(Finish(id, true).ok());
  driver_.Step();
  Pass(absl::Minutes(2));  // the rollout holds version 0 only
  EXPECT_EQ(State(id), v1::SUCCEEDED);
  EXPECT_THAT(Get(id).reason(), HasSubstr("without the final evaluation"));
}

TEST_F(CoordinatorLearnerTest, ALearnerThatIsLostAfterItFinishedDoesntRestartTheJob) {
  const std::string id = Run();
  Evaluate(id, true);
  ASSERT_TRUE(Publish(id, 1).ok());
  ASSERT_TRUE(Finish(id, true).ok());
  Pass(absl::Seconds(7), /*silent=*/{learner_});
  EXPECT_EQ(State(id), v1::RUNNING);
  versions_ = {1};
  Evaluate(id, true);
  driver_.Step();
  EXPECT_EQ(State(id), v1::SUCCEEDED);
}

TEST_F(CoordinatorLearnerTest, AJobEndsWithoutTheLastEventsWhenTheStoreStaysAway) {
  v1::JobSpec spec = Spec();
  spec.mutable_data()->clear_heldout();
  const std::string id = Run(spec);
  replay_.failure = absl::UnavailableError("away");
  ASSERT_TRUE(Finish(id, true).ok());
  driver_.Step();
  EXPECT_EQ(State(id), v1::RUNNING);
  Pass(absl::Seconds(31));
  EXPECT_EQ(State(id), v1::SUCCEEDED);
}

TEST_F(CoordinatorLearnerTest, ALearnerThatGivesUpFailsTheJobWithItsReason) {
  const std::string id = Run();
  ASSERT_TRUE(Finish(id, false, "6 steps in a row were not finite").ok());
  EXPECT_EQ(State(id), v1::FAILED);
  EXPECT_EQ(Get(id).reason(), "6 steps in a row were not finite");
}

TEST_F(CoordinatorLearnerTest, FinishingTwiceChangesNothing) {
  const std::string id = Run();
  ASSERT_TRUE(Finish(id, false, "gave up").ok());
  EXPECT_TRUE(Finish(id, false, "gave up").ok());
  EXPECT_EQ(State(id), v1::FAILED);
}

TEST_F(CoordinatorLearnerTest, EveryPromptOfAnEndedJobIsInOneFinalState) {
  const std::string id = Run();
  Evaluate(id, true);
  const v1::LeasePromptsResponse leases = Lease(id, 2);
  ASSERT_EQ(leases.leases_size(), 2);
  Report(id, leases.leases(0), v1::PromptResult::NO_PAIR);
  ASSERT_TRUE(Finish(id, false, "gave up").ok());
  const v1::PromptCounts prompts = Get(id).prompts();
  EXPECT_EQ(prompts.issued(), 2);
  EXPECT_EQ(prompts.no_pair(), 1);
  EXPECT_EQ(prompts.cancelled(), 1);
  EXPECT_EQ(prompts.leased() + prompts.waiting() + prompts.stored(), 0);
}

}  // namespace
}  // namespace dtrpo::coordinator

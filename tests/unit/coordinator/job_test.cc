#include "services/coordinator/job.h"

#include <gtest/gtest.h>

#include "common/base/retry_after.h"

namespace dtrpo::coordinator {
namespace {

Job RunningJob(int32_t max_attempts = 3) {
  Job job(max_attempts);
  job.GrantLearner();
  return job;
}

TEST(JobTest, IsPendingUntilALearnerIsGranted) {
  Job job(3);
  EXPECT_EQ(job.state(), JobState::kPending);
  EXPECT_EQ(job.attempt(), 0);
  job.GrantLearner();
  EXPECT_EQ(job.state(), JobState::kRunning);
  EXPECT_EQ(job.attempt(), 1);
}

TEST(JobTest, ALostLearnerMeansRestartingAndTheNextOneGetsTheNextAttempt) {
  Job job = RunningJob();
  job.LoseLearner("learner-1 was silent");
  EXPECT_EQ(job.state(), JobState::kRestarting);
  EXPECT_EQ(job.reason(), "learner-1 was silent");
  job.GrantLearner();
  EXPECT_EQ(job.state(), JobState::kRunning);
  EXPECT_EQ(job.attempt(), 2);
}

TEST(JobTest, LosingTheLearnerOfTheLastAttemptFailsTheJob) {
  Job job = RunningJob(/*max_attempts=*/1);
  job.LoseLearner("learner-1 was silent");
  EXPECT_EQ(job.state(), JobState::kFailed);
  EXPECT_NE(job.reason().find("attempt 1 of 1"), std::string::npos) << job.reason();
}

TEST(JobTest, LosingTheLearnerTwiceCountsOnce) {
  Job job = RunningJob();
  job.LoseLearner("silent");
  job.LoseLearner("silent");
  EXPECT_EQ(job.attempt(), 1);
  EXPECT_EQ(job.state(), JobState::kRestarting);
}

TEST(JobTest, APausedJobResumesWhereItWas) {
  Job job = RunningJob();
  ASSERT_TRUE(job.Pause().ok());
  EXPECT_EQ(job.state(), JobState::kPaused);
  ASSERT_TRUE(job.Pause().ok());  // no-op
  ASSERT_TRUE(job.Resume().ok());
  EXPECT_EQ(job.state(), JobState::kRunning);
  EXPECT_EQ(job.attempt(), 1);
}

TEST(JobTest, AJobThatLostItsLearnerWhilePausedRestartsWhenResumed) {
  Job job = RunningJob();
  ASSERT_TRUE(job.Pause().ok());
  job.LoseLearner("silent");
  EXPECT_EQ(job.state(), JobState::kPaused);
  ASSERT_TRUE(job.Resume().ok());
  EXPECT_EQ(job.state(), JobState::kRestarting);
}

TEST(JobTest, PendingAndFinalJobsCantBePausedOrResumed) {
  Job pending(3);
  EXPECT_TRUE(absl::IsFailedPrecondition(pending.Pause()));
  EXPECT_TRUE(absl::IsFailedPrecondition(pending.Resume()));
  Job over = RunningJob();
  over.Succeed("");
  EXPECT_TRUE(absl::IsFailedPrecondition(over.Pause()));
  EXPECT_TRUE(absl::IsFailedPrecondition(over.Resume()));
}

TEST(JobTest, OnlyTheGrantedAttemptMaySpeak) {
  Job job = RunningJob();
  EXPECT_TRUE(job.CheckAttempt(1).ok());
  job.LoseLearner("silent");
  job.GrantLearner();
  for (int32_t attempt : {0, 1, 3}) {
    const absl::Status status = job.CheckAttempt(attempt);
    EXPECT_TRUE(absl::IsFailedPrecondition(status));
    EXPECT_EQ(base::GetReason(status), "stale_attempt");
  }
  EXPECT_TRUE(job.CheckAttempt(2).ok());
  job.Cancel("enough");
  EXPECT_EQ(base::GetReason(job.CheckAttempt(2)), "stale_attempt");
}

TEST(JobTest, WhatAFinalJobSaysOfItselfStays) {
  Job job = RunningJob();
  job.Fail("the loss is not finite");
  EXPECT_FALSE(job.Explain("waiting for a learner"));
  EXPECT_EQ(job.reason(), "the loss is not finite");
}

TEST(JobDeathTest, AFinalStateIsFinal) {
  Job job = RunningJob();
  job.Succeed("");
  EXPECT_DEATH(job.Fail("too late"), "SUCCEEDED -> FAILED");
}

}  // namespace
}  // namespace dtrpo::coordinator

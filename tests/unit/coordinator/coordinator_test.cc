// A job from its submission to its end, as clients and workers live it.
#include "services/coordinator/coordinator.h"

#include <gmock/gmock.h>

#include <map>
#include <string>

#include "tests/unit/coordinator/coordinator_harness.h"

namespace dtrpo::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

using CoordinatorTest = CoordinatorHarness;

// ------------------------------------------------------------------ submitting

TEST_F(CoordinatorTest, ARepeatedIdempotencyKeyAnswersWithTheJobMadeFirst) {
  const std::string id = Submit(Spec(), "key");
  EXPECT_EQ(id, "add-1");
  EXPECT_EQ(Submit(Spec(), "key"), id);
  EXPECT_EQ(Submit(Spec(), "other"), "add-2");
  EXPECT_EQ(coordinator_.ListJobs().jobs_size(), 2);
}

TEST_F(CoordinatorTest, AStatusShowsTheSpecificationWithItsDefaults) {
  const v1::JobStatus status = Get(Submit());
  EXPECT_EQ(status.spec().sampling().samples_per_prompt(), 8);
  EXPECT_TRUE(status.spec().data().shuffle());
  EXPECT_EQ(status.total_steps(), 3);
}

TEST_F(CoordinatorTest, BadJobsAreRefusedByTheFieldThatIsWrong) {
  const auto refusal = [this](const std::function<void(v1::JobSpec&)>& spoil) {
    v1::SubmitJobRequest request;
    *request.mutable_spec() = Spec();
    spoil(*request.mutable_spec());
    const auto response = coordinator_.SubmitJob(request);
    EXPECT_FALSE(response.ok());
    return std::string(response.status().message());
  };
  EXPECT_THAT(refusal([](v1::JobSpec& s) { s.mutable_model()->set_path("gone"); }),
              HasSubstr("model.path: there is no gone/config.json"));
  EXPECT_THAT(refusal([](v1::JobSpec& s) { s.mutable_data()->set_prompts("gone"); }),
              HasSubstr("data.prompts"));
  EXPECT_THAT(refusal([](v1::JobSpec& s) { s.mutable_data()->set_heldout("gone"); }),
              HasSubstr("data.heldout"));
  EXPECT_THAT(refusal([](v1::JobSpec& s) { s.mutable_training()->set_steps(0); }),
              HasSubstr("training.steps"));
  EXPECT_THAT(refusal([](v1::JobSpec& s) { s.mutable_sampling()->set_temperature(0); }),
              HasSubstr("sampling.temperature"));
  EXPECT_THAT(refusal([](v1::JobSpec& s) { s.mutable_replay()->set_max_items(1); }),
              HasSubstr("replay.max_items"));
}

TEST_F(CoordinatorTest, UnknownJobsAndWorkersAreNotFound) {
  v1::GetJobRequest get;
  get.set_job_id("nobody-1");
  EXPECT_TRUE(absl::IsNotFound(coordinator_.GetJob(get).status()));
  v1::HeartbeatRequest beat;
  beat.set_worker_id("rollout-1");
  EXPECT_TRUE(absl::IsNotFound(coordinator_.Heartbeat(beat).status()));
}

// ------------------------------------------------------------------ starting

TEST_F(CoordinatorTest, APendingJobNamesWhatIsMissing) {
  const std::string id = Submit();
  EXPECT_EQ(Get(id).reason(),
            "waiting for the replay store to open the job, a learner, a rollout, a reference");
  driver_.Step();
  Register(kRollout);
  EXPECT_EQ(Get(id).reason(), "waiting for a learner, a reference");
  Register(kReference);
  Register(kLearner);
  EXPECT_EQ(State(id), v1::RUNNING);
  EXPECT_EQ(Get(id).reason(), "");
}

TEST_F(CoordinatorTest, JobsRunOneAfterTheOther) {
  const std::string first = Run();
  const std::string second = Submit();
  EXPECT_EQ(State(second), v1::PENDING);
  EXPECT_THAT(Get(second).reason(), HasSubstr("behind job add-1, which is RUNNING"));
  v1::CancelJobRequest cancel;
  cancel.set_job_id(first);
  ASSERT_TRUE(coordinator_.CancelJob(cancel).ok());
  driver_.Step();
  EXPECT_EQ(State(second), v1::RUNNING);
}

TEST_F(CoordinatorTest, AssignmentsTellWorkersWithWhomToWork) {
  const std::string id = Run();
  const v1::Assignment learner = Beat(learner_, id);
  EXPECT_EQ(learner.job().job_id(), id);
  EXPECT_EQ(learner.job().attempt(), 1);
  EXPECT_EQ(learner.reference(), "reference:1");
  EXPECT_THAT(learner.replay(), ElementsAre("127.0.0.1:4000"));
  ASSERT_EQ(learner.rollouts_size(), 1);
  EXPECT_EQ(learner.rollouts(0).address(), "rollout:1");
  const v1::Assignment rollout = Beat(rollout_, id, {0});
  EXPECT_EQ(rollout.job().attempt(), 0);
  EXPECT_EQ(rollout.learner(), "learner:1");
  EXPECT_THAT(rollout.pinned_versions(), ElementsAre(0));  // the evaluation before training
}

TEST_F(CoordinatorTest, ASecondLearnerWaitsForItsTurn) {
  const std::string id = Run();
  v1::RegisterWorkerRequest request;
  request.set_role(kLearner);
  request.set_address("learner:2");
  request.set_incarnation("other");
  const auto other = coordinator_.RegisterWorker(request);
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(Beat(other->worker_id()).job().job_id(), "");
  EXPECT_EQ(Beat(learner_, id).job().job_id(), id);
}

// ------------------------------------------------------------------ leasing

TEST_F(CoordinatorTest, EvaluationPromptsComeBeforeTrainingPrompts) {
  const std::string id = Run();
  Evaluate(id, true);
  const v1::LeasePromptsResponse response = Lease(id, 2);
  ASSERT_EQ(response.leases_size(), 2);
  EXPECT_EQ(response.leases(0).kind(), v1::TRAIN);
  EXPECT_THAT(response.leases(0).prompt_json(), HasSubstr("\"id\""));
}

TEST_F(CoordinatorTest, PromptsAreAdmittedAsTheWeightsMoveOn) {
  const std::string id = Run();
  Evaluate(id, true);
  // B * publish_every * (v + S + 1) = 2 * 1 * (0 + 0 + 1) pairs, one a prompt.
  EXPECT_EQ(Lease(id, 10).leases_size(), 2);
  EXPECT_THAT(Lease(id, 10).reason(), HasSubstr("admission"));
  ASSERT_TRUE(Publish(id, 1).ok());
  versions_ = {1};
  EXPECT_EQ(Lease(id, 10, 1).leases_size(), 2);
}

TEST_F(CoordinatorTest, NothingIsLeasedBeyondWhatTheLastStepCanUse) {
  const std::string id = Run();
  Evaluate(id, true);
  for (int64_t version = 1; version <= 3; ++version) ASSERT_TRUE(Publish(id, version).ok());
  EXPECT_EQ(Lease(id, 100, 3).leases_size(), 6);  // 3 steps of 2 pairs
}

TEST_F(CoordinatorTest, ARolloutThatLagsTooFarGetsNoTrainingPrompts) {
  const std::string id = Run();
  Evaluate(id, true);
  ASSERT_TRUE(Publish(id, 1).ok());
  const v1::LeasePromptsResponse response = Lease(id, 10, /*version=*/0);
  EXPECT_EQ(response.leases_size(), 0);
  EXPECT_THAT(response.reason(), HasSubstr("stale weights"));
  EXPECT_GT(response.retry_after_ms(), 0);
}

TEST_F(CoordinatorTest, ALostRolloutsPromptsAreLeasedAgain) {
  const std::string id = Run();
  Evaluate(id, true);
  const v1::PromptLease lost = Lease(id, 1).leases(0);
  Pass(absl::Seconds(7), /*silent=*/{rollout_});
  EXPECT_EQ(Get(id).prompts().waiting(), 1);
  EXPECT_EQ(State(id), v1::RUNNING);
  EXPECT_THAT(Get(id).reason(), HasSubstr("a rollout"));
  rollout_ = Register(kRollout, "b");
  const v1::PromptLease again = Lease(id, 1).leases(0);
  EXPECT_EQ(again.prompt_index(), lost.prompt_index());
  EXPECT_EQ(again.prompt_attempt(), lost.prompt_attempt());
  EXPECT_EQ(registry_.Sum("dtrpo_coordinator_workers_lost_total"), 1);
}

TEST_F(CoordinatorTest, LeasesThatNeverArrivedAreFreeAtTheNextCall) {
  const std::string id = Run();
  Evaluate(id, true);
  const v1::PromptLease lost = Lease(id, 1).leases(0);
  const v1::LeasePromptsResponse next = Lease(id, 2, 0, /*holds_no_lease=*/true);
  ASSERT_EQ(next.leases_size(), 2);
  EXPECT_EQ(next.leases(0).prompt_index(), lost.prompt_index());
  EXPECT_EQ(next.leases(0).prompt_attempt(), lost.prompt_attempt());
  EXPECT_NE(next.leases(0).lease_id(), lost.lease_id());
  EXPECT_EQ(Get(id).prompts().leased(), 2);
}

TEST_F(CoordinatorTest, ARepeatedReportCountsOnce) {
  const std::string id = Run();
  Evaluate(id, true);
  const v1::PromptLease lease = Lease(id, 1).leases(0);
  for (int i = 0; i < 3; ++i) Report(id, lease, v1::PromptResult::STORED);
  const v1::JobStatus status = Get(id);
  EXPECT_EQ(status.prompts().stored(), 1);
  EXPECT_EQ(status.rollout_samples(), 8);
  EXPECT_EQ(status.rollout_tokens(), 100);
  EXPECT_DOUBLE_EQ(status.reward_mean(), 0.5);
  EXPECT_GT(status.rollout_tokens_per_second(), 0);
}

TEST_F(CoordinatorTest, RewardsThatFailedAndPromptsThatTeachNothingAreCountedOnce) {
  const std::string id = Run();
  Evaluate(id, true);
  const auto report = [&](v1::PromptResult::Outcome outcome, int right, int failed,
                          const std::map<std::string, int>& reasons = {}) {
    const v1::PromptLease lease = Lease(id, 1).leases(0);
    v1::ReportPromptsRequest request;
    request.mutable_job()->set_job_id(id);
    request.set_worker_id(rollout_);
    v1::PromptResult* result = request.add_results();
    result->set_lease_id(lease.lease_id());
    result->set_kind(v1::TRAIN);
    result->set_prompt_index(lease.prompt_index());
    result->set_epoch(lease.epoch());
    result->set_outcome(outcome);
    result->set_samples(8 - failed);
    result->set_right_samples(right);
    result->set_failed_samples(failed);
    if (failed > 0) result->set_sample_error("timed out after 5 s");
    for (const auto& [reason, answers] : reasons) {
      result->add_failures()->set_reason(reason);
      result->mutable_failures()->rbegin()->set_answers(answers);
    }
    for (int i = 0; i < 2; ++i) ASSERT_TRUE(coordinator_.ReportPrompts(request).ok());
  };
  report(v1::PromptResult::STORED, 3, 2);
  report(v1::PromptResult::NO_PAIR, 0, 0);
  report(v1::PromptResult::FAILED, 0, 8, {{"the reward is nan, no number", 5}, {"timed out", 3}});
  const v1::RewardCounts rewards = Get(id).rewards();
  EXPECT_EQ(rewards.prompts(), 2);
  EXPECT_EQ(rewards.without_pair(), 1);
  EXPECT_EQ(rewards.all_wrong(), 1);
  EXPECT_EQ(rewards.all_right(), 0);
  EXPECT_EQ(rewards.failed_answers(), 10);
  EXPECT_EQ(rewards.last_failure(), "timed out after 5 s");
  std::map<std::string, int64_t> reasons;
  for (const v1::RewardFailure& failure : rewards.failures())
    reasons[failure.reason()] = failure.answers();
  // The first report was of a rollout that told one reason, "of one of them".
  EXPECT_THAT(reasons, ElementsAre(Pair("the reward is nan, no number", 5), Pair("timed out", 3),
                                   Pair("timed out after 5 s", 2)));

  std::map<std::string, int> many;
  for (int i = 0; i < 30; ++i) many[absl::StrCat("reason ", i)] = 1;
  report(v1::PromptResult::STORED, 0, 30, many);
  const v1::RewardCounts counted = Get(id).rewards();
  int64_t sum = 0;
  for (const v1::RewardFailure& failure : counted.failures()) sum += failure.answers();
  EXPECT_EQ(sum, 40);
  ASSERT_EQ(counted.failures_size(), 17);
  EXPECT_EQ(counted.failures(16).reason(), "other reasons");
  EXPECT_EQ(counted.failures(16).answers(), 17);
}

TEST_F(CoordinatorTest, ALongRunOfPromptsWithoutAPairEndsTheJobWithThatReason) {
  const std::string id = Run();
  Evaluate(id, true);
  for (int i = 0; i < 4; ++i) {
    Report(id, Lease(id, 1).leases(0), v1::PromptResult::NO_PAIR);
  }
  EXPECT_EQ(State(id), v1::FAILED);
  EXPECT_THAT(Get(id).reason(), HasSubstr("4 prompts in a row gave no pair"));
}

// ------------------------------------------------------------------ pausing

TEST_F(CoordinatorTest, APausedJobLeasesNothingAndTellsItsWorkers) {
  const std::string id = Run();
  v1::PauseJobRequest pause;
  pause.set_job_id(id);
  ASSERT_TRUE(coordinator_.PauseJob(pause).ok());
  EXPECT_EQ(Lease(id, 1).leases_size(), 0);
  EXPECT_THAT(Lease(id, 1).reason(), HasSubstr("PAUSED"));
  EXPECT_EQ(Beat(learner_, id).state(), v1::PAUSED);
  v1::ResumeJobRequest resume;
  resume.set_job_id(id);
  ASSERT_TRUE(coordinator_.ResumeJob(resume).ok());
  EXPECT_EQ(Beat(learner_, id).state(), v1::RUNNING);
  EXPECT_GT(Lease(id, 1).leases_size(), 0);
}

TEST_F(CoordinatorTest, APromptThatFinishesDuringThePauseCounts) {
  const std::string id = Run();
  Evaluate(id, true);
  const v1::PromptLease lease = Lease(id, 1).leases(0);
  v1::PauseJobRequest pause;
  pause.set_job_id(id);
  ASSERT_TRUE(coordinator_.PauseJob(pause).ok());
  Report(id, lease, v1::PromptResult::STORED);
  EXPECT_EQ(Get(id).prompts().stored(), 1);
}

// ------------------------------------------------------------------ watching

TEST_F(CoordinatorTest, AwaitChangeReturnsAtOnceWhenTheJobHasChanged) {
  const std::string id = Run();
  uint64_t revision = 0;
  ASSERT_TRUE(coordinator_.AwaitChange(id, revision, 0, clock_.Now()).ok());
  ASSERT_TRUE(ReportStep(id, 1).ok());
  const uint64_t before = revision;
  const auto status = coordinator_.AwaitChange(id, revision, 0, absl::InfiniteFuture());
  ASSERT_TRUE(status.ok());
  EXPECT_NE(revision, before);
  EXPECT_EQ(status->steps_size(), 1);
}

TEST_F(CoordinatorTest, MetricsShowTheJobAtTheHeadOfTheQueue) {
  const std::string id = Run();
  Evaluate(id, true);
  ASSERT_TRUE(ReportStep(id, 2).ok());
  coordinator_.Tick();
  EXPECT_EQ(registry_.Value("dtrpo_coordinator_job_step_number", {{"run", id}}), 2);
  EXPECT_EQ(registry_.Value("dtrpo_coordinator_job_heldout_accuracy_ratio", {{"run", id}}), 1);
  EXPECT_EQ(registry_.Value("dtrpo_coordinator_jobs_count", {{"state", "RUNNING"}}), 1);
  EXPECT_EQ(registry_.Value("dtrpo_coordinator_workers_count", {{"worker_role", "rollout"}}), 1);
  EXPECT_EQ(registry_.Value("dtrpo_coordinator_leases_total", {{"kind", "evaluate"}}), 2);
}

}  // namespace
}  // namespace dtrpo::coordinator

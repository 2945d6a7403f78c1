// What users of long jobs ask for: priorities, other jobs' models, the best checkpoint, an early
// end, going back, and what happened. The harness restores each coordinator from its log and finds
// the same jobs with the same events.
#include <gmock/gmock.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/unit/coordinator/coordinator_harness.h"

namespace dtrpo::coordinator {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

class CoordinatorJobsTest : public CoordinatorHarness {
 protected:
  static v1::JobSpec Named(const std::string& name, int32_t priority) {
    v1::JobSpec spec = Spec();
    spec.set_name(name);
    spec.set_priority(priority);
    return spec;
  }

  // Ten steps, a version each, every version evaluated on the two held-out prompts.
  static v1::JobSpec Evaluated() {
    v1::JobSpec spec = Spec();
    spec.mutable_training()->set_steps(10);
    spec.mutable_training()->set_keep_checkpoints(2);
    spec.mutable_evaluation()->set_every_versions(1);
    return spec;
  }

  // Of `version`, of which `right` of the two prompts are right.
  void EvaluateVersion(const std::string& id, int64_t version, int right) {
    versions_ = {version};
    const v1::LeasePromptsResponse response = Lease(id, 10);
    ASSERT_EQ(response.leases_size(), 2);
    for (const v1::PromptLease& lease : response.leases()) {
      ASSERT_EQ(lease.version(), version);
      Report(id, lease, v1::PromptResult::EVALUATED, right-- > 0);
    }
  }

  // A step as a learner makes it: version, report, checkpoint, and then its evaluation.
  v1::ReportStepResponse Step(const std::string& id, int64_t step, int right) {
    EXPECT_TRUE(Publish(id, step).ok());
    const auto answer = ReportStep(id, step);
    EXPECT_TRUE(answer.ok()) << answer.status();
    EXPECT_TRUE(Save(id, step).ok());
    EvaluateVersion(id, step, right);
    return *answer;
  }

  absl::StatusOr<v1::RegisterCheckpointResponse> Save(const std::string& id, int64_t step,
                                                      int32_t attempt = 1) {
    const std::string path = absl::StrCat("out/step-", step);
    Write(base::JoinPath(path, "config.json"), "{}");
    v1::RegisterCheckpointRequest request;
    request.mutable_job()->set_job_id(id);
    request.mutable_job()->set_attempt(attempt);
    request.set_step(step);
    request.set_path(path);
    return coordinator_.RegisterCheckpoint(request);
  }

  absl::StatusOr<v1::JobStatus> RollBack(const std::string& id, int64_t step) {
    v1::RollBackJobRequest request;
    request.set_job_id(id);
    request.set_checkpoint_step(step);
    return coordinator_.RollBackJob(request);
  }

  std::vector<std::string> Events(const std::string& id) {
    v1::ListJobEventsRequest request;
    request.set_job_id(id);
    const auto response = coordinator_.ListJobEvents(request);
    EXPECT_TRUE(response.ok()) << response.status();
    std::vector<std::string> events;
    for (const v1::JobEvent& event : response->events()) {
      EXPECT_EQ(event.number(), static_cast<int64_t>(events.size()) + 1);
      events.push_back(absl::StrCat(event.kind(), event.warning() ? "! " : " ", event.text()));
    }
    return events;
  }
};

// ------------------------------------------------------------------ priority

TEST_F(CoordinatorJobsTest, OfTheJobsThatWaitTheHighestPriorityIsServedFirst) {
  const std::string first = Submit(Named("first", 0));
  RegisterAll();
  driver_.Step();
  ASSERT_EQ(State(first), v1::RUNNING);
  const std::string low = Submit(Named("low", -5));
  const std::string equal = Submit(Named("equal", 0));
  const std::string high = Submit(Named("high", 7));
  EXPECT_EQ(State(first), v1::RUNNING) << "a job that has begun goes on";
  EXPECT_THAT(Get(high).reason(), HasSubstr("waiting behind job first-1"));
  std::vector<std::string> served;
  for (std::string running = first; served.size() < 4;) {
    served.push_back(running);
    v1::CancelJobRequest cancel;
    cancel.set_job_id(running);
    ASSERT_TRUE(coordinator_.CancelJob(cancel).ok());
    driver_.Step();
    coordinator_.Tick();
    for (const std::string& id : {low, equal, high}) {
      if (State(id) == v1::RUNNING) running = id;
    }
  }
  EXPECT_THAT(served, ElementsAre(first, high, equal, low));
}

// ------------------------------------------------------------------ from_job

TEST_F(CoordinatorJobsTest, AJobStartsFromTheBestCheckpointOfAnother) {
  const std::string id = Run(Evaluated());
  EvaluateVersion(id, 0, 0);
  Step(id, 1, 2);
  Step(id, 2, 1);
  v1::JobSpec next = Named("next", 0);
  next.mutable_model()->clear_path();
  next.mutable_model()->set_from_job(id);
  v1::SubmitJobRequest request;
  *request.mutable_spec() = next;
  EXPECT_THAT(coordinator_.SubmitJob(request).status().message(), HasSubstr("not over yet"));
  v1::CancelJobRequest cancel;
  cancel.set_job_id(id);
  ASSERT_TRUE(coordinator_.CancelJob(cancel).ok());
  const std::string second = Submit(next);
  EXPECT_EQ(Get(second).spec().model().path(), "out/step-1");
  EXPECT_EQ(Get(second).spec().model().from_job(), id) << "where it came from is recorded";
  Restart();
  EXPECT_EQ(Get(second).spec().model().path(), "out/step-1");

  next.mutable_model()->set_path("model");
  *request.mutable_spec() = next;
  EXPECT_THAT(coordinator_.SubmitJob(request).status().message(), HasSubstr("exclude each other"));
  next.mutable_model()->clear_path();
  next.mutable_model()->set_from_job("nobody-9");
  *request.mutable_spec() = next;
  EXPECT_THAT(coordinator_.SubmitJob(request).status().message(),
              HasSubstr("model.from_job: there is no job \"nobody-9\""));
}

// ------------------------------------------------------------------ best checkpoint, early stop

TEST_F(CoordinatorJobsTest, TheCheckpointWithTheBestEvaluationIsKeptBesideTheNewest) {
  const std::string id = Run(Evaluated());
  EvaluateVersion(id, 0, 1);
  Step(id, 1, 2);
  Step(id, 2, 1);
  Step(id, 3, 1);
  const auto kept = Save(id, 4);
  ASSERT_TRUE(kept.ok());
  EXPECT_THAT(kept->keep_steps(), Contains(1)) << "the best";
  EXPECT_THAT(kept->keep_steps(), testing::Not(Contains(2)));
  const v1::JobStatus status = Get(id);
  EXPECT_EQ(status.best_checkpoint().step(), 1);
  EXPECT_EQ(status.best_checkpoint().path(), "out/step-1");
  EXPECT_EQ(status.best_accuracy(), 1);
  EXPECT_EQ(status.checkpoint(), "out/step-4");
}

TEST_F(CoordinatorJobsTest, ACheckpointWhoseEvaluationRunsIsNotRemoved) {
  const std::string id = Run(Evaluated());
  EvaluateVersion(id, 0, 1);
  for (int64_t step : {1, 2}) {
    ASSERT_TRUE(Publish(id, step).ok());
    ASSERT_TRUE(Save(id, step).ok());
  }
  ASSERT_TRUE(Save(id, 3).ok());
  EXPECT_THAT(Save(id, 4)->keep_steps(), Contains(1));
  EvaluateVersion(id, 1, 0);
  EvaluateVersion(id, 2, 2);
  EXPECT_THAT(Save(id, 5)->keep_steps(), testing::Not(Contains(1))) << "judged, and not the best";
}

TEST_F(CoordinatorJobsTest, TrainingStopsAfterEvaluationsInARowWithoutABetterOne) {
  v1::JobSpec spec = Evaluated();
  spec.mutable_evaluation()->set_stop_after(2);
  const std::string id = Run(spec);
  EvaluateVersion(id, 0, 0);
  EXPECT_EQ(Step(id, 1, 1).stop(), "");
  EXPECT_EQ(Step(id, 2, 1).stop(), "");  // the first without a better one
  EXPECT_EQ(Step(id, 3, 0).stop(), "");  // the second, judged after the step
  EXPECT_THAT(
      ReportStep(id, 4)->stop(),
      StartsWith("stopped early: 2 evaluations in a row weren't better than 0.5 at step 1"));
}

// ------------------------------------------------------------------ rolling back

TEST_F(CoordinatorJobsTest, RollingBackGivesTheLearnerAnEarlierCheckpointAsAnotherAttempt) {
  const std::string id = Run(Evaluated());
  EvaluateVersion(id, 0, 1);
  for (int64_t step : {1, 2, 3}) Step(id, step, 1);
  ASSERT_TRUE(RollBack(id, 2).ok());
  EXPECT_EQ(State(id), v1::RUNNING) << "the learner is there";
  EXPECT_EQ(Get(id).attempt(), 2);
  const v1::Assignment assignment = Beat(learner_, id);
  EXPECT_EQ(assignment.resume_checkpoint(), "out/step-2");
  EXPECT_EQ(assignment.resume_step(), 3) << "batches go on";
  EXPECT_FALSE(ReportStep(id, 4, 1).ok()) << "the attempt before is refused";

  // The earlier weights under the newest number, in a higher generation: the fleet takes them.
  v1::RegisterVersionRequest request;
  request.mutable_job()->set_job_id(id);
  request.mutable_job()->set_attempt(2);
  request.mutable_manifest()->set_job_id(id);
  request.mutable_manifest()->set_version(3);
  request.mutable_manifest()->set_generation(1);
  request.mutable_manifest()->set_sha256("sha2");
  request.set_step(3);
  ASSERT_TRUE(coordinator_.RegisterVersion(request).ok());
  EXPECT_EQ(Beat(rollout_, id, {3}).newest_manifest().sha256(), "sha2");
  EXPECT_THAT(Events(id), Contains(HasSubstr("rolled back by a client to the weights of step 2")));
  ASSERT_TRUE(Save(id, 4, 2).ok());
  EXPECT_EQ(Beat(learner_, id).resume_step(), 0) << "the newest checkpoint is of its own step";
}

TEST_F(CoordinatorJobsTest, RollingBackToTheBaseModelKeepsTheCountOfSteps) {
  const std::string id = Run(Evaluated());
  EvaluateVersion(id, 0, 1);
  for (int64_t step : {1, 2}) Step(id, step, 0);
  ASSERT_TRUE(RollBack(id, 0).ok());
  EXPECT_EQ(Get(id).attempt(), 2);
  const v1::Assignment assignment = Beat(learner_, id);
  EXPECT_EQ(assignment.resume_checkpoint(), "");
  EXPECT_EQ(assignment.resume_step(), 2);
  EXPECT_THAT(Events(id), Contains(HasSubstr("rolled back by a client to the weights of the base "
                                             "model, as those of step 2")));
  EXPECT_THAT(Events(id), Contains(HasSubstr("at step 2, from the base model")));
  EXPECT_EQ(Get(id).best_checkpoint().path(), "out/step-1") << "the base model has no folder";
  ASSERT_TRUE(Save(id, 3, 2).ok());
  EXPECT_EQ(Beat(learner_, id).resume_checkpoint(), "out/step-3");
  EXPECT_EQ(Beat(learner_, id).resume_step(), 0);
}

TEST_F(CoordinatorJobsTest, RollingBackToTheBaseModelBeforeAnyCheckpointBeginsAnew) {
  const std::string id = Run(Evaluated());
  EvaluateVersion(id, 0, 1);
  ASSERT_TRUE(RollBack(id, 0).ok());
  EXPECT_EQ(Get(id).attempt(), 2);
  EXPECT_EQ(Beat(learner_, id).resume_checkpoint(), "");
  EXPECT_EQ(Beat(learner_, id).resume_step(), 0);
  EXPECT_EQ(Get(id).checkpoints_size(), 0);
}

TEST_F(CoordinatorJobsTest, RollingBackIsNoFailureThatUsesUpAttempts) {
  const std::string id = Run(Evaluated());  // two attempts at most
  EvaluateVersion(id, 0, 1);
  Step(id, 1, 1);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(RollBack(id, 1).ok());
  EXPECT_EQ(State(id), v1::RUNNING);
  EXPECT_EQ(Get(id).attempt(), 6);
}

TEST_F(CoordinatorJobsTest, APausedJobIsRolledBackWhenItIsResumed) {
  const std::string id = Run(Evaluated());
  EvaluateVersion(id, 0, 1);
  for (int64_t step : {1, 2}) Step(id, step, 1);
  v1::PauseJobRequest pause;
  pause.set_job_id(id);
  ASSERT_TRUE(coordinator_.PauseJob(pause).ok());
  ASSERT_TRUE(RollBack(id, 1).ok());
  EXPECT_EQ(State(id), v1::PAUSED);
  EXPECT_EQ(Beat(learner_, id).job().job_id(), "") << "the learner lets go of the attempt";
  v1::ResumeJobRequest resume;
  resume.set_job_id(id);
  ASSERT_TRUE(coordinator_.ResumeJob(resume).ok());
  EXPECT_EQ(Beat(learner_, id).resume_checkpoint(), "out/step-1");
}

TEST_F(CoordinatorJobsTest, ARollbackThatCannotBeIsRefusedInWords) {
  const std::string id = Run(Evaluated());
  EvaluateVersion(id, 0, 1);
  EXPECT_THAT(RollBack(id, 7).status().message(),
              HasSubstr("those of step none, and 0, the base model"));
  for (int64_t step : {1, 2}) Step(id, step, 1);
  EXPECT_THAT(RollBack(id, 7).status().message(),
              HasSubstr("no checkpoint of step 7; there are those of step 1, 2"));
  ASSERT_TRUE(files_.RemoveTree("out/step-1").ok());
  EXPECT_THAT(RollBack(id, 1).status().message(), HasSubstr("out/step-1 isn't there any more"));
  ASSERT_TRUE(Finish(id, true).ok());
  EXPECT_THAT(RollBack(id, 2).status().message(), HasSubstr("its training has ended"));
}

// ------------------------------------------------------------------ events

TEST_F(CoordinatorJobsTest, EventsTellWhatHappenedInOrder) {
  const std::string id = Submit();
  RegisterAll();
  driver_.Step();
  Beat(rollout_, id, {0});
  Evaluate(id, true);
  ASSERT_TRUE(Save(id, 1).ok());
  Register(kLearner, "b");  // another process took its place
  v1::CancelJobRequest cancel;
  cancel.set_job_id(id);
  cancel.set_reason("enough");
  ASSERT_TRUE(coordinator_.CancelJob(cancel).ok());
  const std::vector<std::string> events = Events(id);
  EXPECT_EQ(events.front(), "state submitted: 3 steps, 20 prompts, 2 held out");
  EXPECT_EQ(events.back(), "state CANCELLED: enough, at step 0");
  size_t found = 0;
  for (const char* wanted :
       {"worker rollout-1 joined", "attempt attempt 1 begins with learner-1, from the base model",
        "evaluation version 0 (step 0): 2 of 2 right (100.0 %), the best so far",
        "checkpoint step 1: out/step-1", "worker! lost: learner-1 was replaced",
        "attempt! attempt 1 ended", "attempt attempt 2 begins with learner-2, at step 1"}) {
    const auto at =
        std::find_if(events.begin() + static_cast<int64_t>(found), events.end(),
                     [&](const std::string& event) { return event.rfind(wanted, 0) == 0; });
    ASSERT_NE(at, events.end()) << wanted << " in\n" << testing::PrintToString(events);
    found = static_cast<size_t>(at - events.begin());
  }
}

TEST_F(CoordinatorJobsTest, EventsAreReadOnFromAnyOfThem) {
  const std::string id = Run();
  const std::vector<std::string> all = Events(id);
  ASSERT_GE(all.size(), 3u);
  v1::ListJobEventsRequest request;
  request.set_job_id(id);
  request.set_after(1);
  request.set_max(1);
  const auto page = coordinator_.ListJobEvents(request);
  ASSERT_EQ(page->events_size(), 1);
  EXPECT_EQ(page->events(0).number(), 2);
  EXPECT_EQ(page->state(), v1::RUNNING);
}

TEST(JobEventsTest, OnlyTheNewestAreKeptAndTheirNumbersGoOn) {
  JobEvents events(/*max_events=*/3);
  for (int i = 0; i < 5; ++i) events.Add(absl::UnixEpoch(), "state", std::string(5000, 'x'));
  const std::vector<v1::JobEvent> kept = events.After(0, 0);
  ASSERT_EQ(kept.size(), 3u);
  EXPECT_EQ(kept.front().number(), 3);
  EXPECT_EQ(kept.back().number(), 5);
  EXPECT_EQ(kept.back().text().size(), 1000u);
}

// ------------------------------------------------------------------ dry runs

TEST_F(CoordinatorJobsTest, ADryRunChecksEverythingAndMakesNoJob) {
  v1::SubmitJobRequest request;
  *request.mutable_spec() = Spec();
  request.mutable_spec()->mutable_data()->set_heldout("nowhere.jsonl");
  request.set_dry_run(true);
  EXPECT_THAT(coordinator_.SubmitJob(request).status().message(), HasSubstr("data.heldout"));
  EXPECT_EQ(coordinator_.ListJobs().jobs_size(), 0);
}

}  // namespace
}  // namespace dtrpo::coordinator

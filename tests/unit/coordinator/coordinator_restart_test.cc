// A coordinator that dies and is started again from its log.
#include <gmock/gmock.h>

#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/unit/coordinator/coordinator_harness.h"

namespace dtrpo::coordinator {
namespace {

using testing::HasSubstr;

using CoordinatorRestartTest = CoordinatorHarness;

TEST_F(CoordinatorRestartTest, WorkersGoOnAsTheSameOnesAndTheJobKeepsItsAttempt) {
  const std::string id = Run();
  Evaluate(id, true);
  ASSERT_TRUE(ReportStep(id, 1).ok());
  ASSERT_TRUE(Publish(id, 1).ok());
  Restart();
  EXPECT_EQ(State(id), v1::RUNNING);
  EXPECT_EQ(Get(id).attempt(), 1);
  EXPECT_EQ(Beat(learner_, id).job().attempt(), 1);
  EXPECT_EQ(Beat(rollout_, id, {0, 1}).newest_version(), 1);
  ASSERT_TRUE(ReportStep(id, 2).ok());
  EXPECT_EQ(Get(id, /*steps=*/true).steps_size(), 2);
}

TEST_F(CoordinatorRestartTest, RunningLeasesGetAFullNewTerm) {
  const std::string id = Run();
  Evaluate(id, true);
  const v1::PromptLease lease = Lease(id, 1).leases(0);
  clock_.Advance(Options().job.lease * 3);  // the coordinator was away for long
  Restart();
  Pass(Options().job.lease - absl::Seconds(2));
  EXPECT_EQ(Get(id).prompts().leased(), 1);
  Report(id, lease, v1::PromptResult::STORED);
  EXPECT_EQ(Get(id).prompts().stored(), 1);
}

TEST_F(CoordinatorRestartTest, WorkersThatDiedMeanwhileAreGivenUpAfterTheirTimeout) {
  const std::string id = Run();
  Restart();
  Pass(Options().worker_timeout + absl::Seconds(2), {learner_});
  EXPECT_EQ(State(id), v1::RESTARTING);
}

TEST_F(CoordinatorRestartTest, ASubmissionRepeatedAfterTheRestartIsTheSameJob) {
  const std::string id = Submit(Spec(), "key");
  ASSERT_TRUE(files_.RemoveFile("p.jsonl").ok());  // its prompts are in the log
  Restart();
  EXPECT_EQ(Submit(Spec(), "key"), id);
  RegisterAll();
  driver_.Step();
  EXPECT_EQ(State(id), v1::RUNNING);
  Beat(rollout_, id, {0});
  Evaluate(id, true);
  EXPECT_THAT(Lease(id, 1).leases(0).prompt_json(), HasSubstr("\"id\""));
}

TEST_F(CoordinatorRestartTest, ALogThatLeadsElsewhereIsRefused) {
  Run();
  LoggedOperation odd;
  odd.kind = OperationKind::kTick;
  odd.time = clock_.Now();
  odd.digest = 1;
  ASSERT_TRUE(engine_.Append("coordinator", {.records = {EncodeOperation(odd)}}).ok());
  Coordinator other(Options(), Deps());
  const absl::Status refused = other.Restore();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(refused.message(), HasSubstr("leads to other jobs"));
  log_is_odd_ = true;
}

TEST_F(CoordinatorRestartTest, NothingIsToldThatIsNotInTheLog) {
  Submit();
  ASSERT_TRUE(engine_.Close().ok());
  Register(kRollout);
  EXPECT_FALSE(coordinator_.Durable().ok());
  EXPECT_TRUE(coordinator_.LogFailed());
  log_is_odd_ = true;
}

// ---------------------------------------------------------------- clocks that jump

class JumpingClock : public base::Clock {
 public:
  explicit JumpingClock(base::Clock* clock) : clock_(clock) {}
  absl::Time Now() override { return clock_->Now() + jumped; }
  void SleepUntil(absl::Time wakeup) override { clock_->SleepUntil(wakeup - jumped); }
  bool AwaitUntil(absl::Mutex* mutex, const absl::Condition& condition,
                  absl::Time deadline) override {
    return clock_->AwaitUntil(mutex, condition, deadline - jumped);
  }
  absl::Duration jumped;

 private:
  base::Clock* const clock_;
};

class ClockJumpTest : public CoordinatorHarness {
 protected:
  ClockJumpTest() : jumping_(&clock_) {
    Coordinator::Deps deps = Deps();
    deps.clock = &jumping_;
    slot_.emplace(Options(), deps);
  }
  ~ClockJumpTest() override { slot_.reset(); }
  // What is restored then is compared at the same time.
  void TearDown() override {
    jumping_.jumped = absl::ZeroDuration();
    CoordinatorHarness::TearDown();
  }

  JumpingClock jumping_;
};

TEST_F(ClockJumpTest, AJumpInEitherDirectionLosesNoWorkerNoLeaseAndNoConfirmation) {
  const std::string id = Run();
  Evaluate(id, true);
  const v1::PromptLease lease = Lease(id, 1).leases(0);
  coordinator_.Tick();
  for (const absl::Duration jump : {absl::Hours(5), -absl::Hours(9), absl::Hours(1)}) {
    jumping_.jumped += jump;
    coordinator_.Tick();
    EXPECT_EQ(State(id), v1::RUNNING) << jump;
    EXPECT_EQ(Get(id).attempt(), 1);
    EXPECT_EQ(coordinator_.ListWorkers().workers_size(), 3);
    EXPECT_EQ(Get(id).prompts().leased(), 1);
    Pass(absl::Seconds(3));
  }
  Report(id, lease, v1::PromptResult::STORED);
  EXPECT_EQ(Get(id).prompts().stored(), 1);
  // Who is really gone is noticed after his timeout of the new time.
  jumping_.jumped -= absl::Hours(2);
  Pass(Options().worker_timeout + absl::Seconds(2), {learner_});
  EXPECT_EQ(State(id), v1::RESTARTING);
  EXPECT_THAT(Get(id).reason(), HasSubstr("silent"));
}

TEST_F(ClockJumpTest, AJobWhoseTrainingEndedBeforeTheClockWentBackStillEnds) {
  v1::JobSpec spec = Spec();
  spec.mutable_data()->clear_heldout();
  const std::string id = Run(spec);
  coordinator_.Tick();
  ASSERT_TRUE(Finish(id, true).ok());
  jumping_.jumped -= absl::Hours(3);
  // The store stays away, so the job waits for its last events in vain.
  Pass(Options().job.last_events_timeout + absl::Seconds(5));
  EXPECT_EQ(State(id), v1::SUCCEEDED);
}

// Every prompt of both epochs ends once, however often the coordinator dies.
TEST_F(CoordinatorRestartTest, NoPromptIsSkippedOrRepeatedHoweverOftenItDies) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    v1::JobSpec spec = Spec();
    spec.clear_data();
    spec.mutable_data()->set_prompts("p.jsonl");
    spec.mutable_data()->set_epochs(2);
    spec.mutable_training()->set_steps(1000);
    spec.mutable_training()->set_max_staleness(50);
    spec.mutable_training()->set_max_prompts_without_pair(1000);
    RegisterAll();
    const std::string id = Submit(spec);
    driver_.Step();
    ASSERT_EQ(State(id), v1::RUNNING);

    enum class Is { kLeased, kStored, kOver };
    std::map<std::pair<int64_t, int64_t>, Is> model;
    std::vector<v1::PromptLease> leased, stored;
    auto take = [&random](std::vector<v1::PromptLease>& from) {
      const size_t i = random() % from.size();
      v1::PromptLease lease = from[i];
      from.erase(from.begin() + static_cast<int64_t>(i));
      return lease;
    };
    int restarts = 0;
    records_per_snapshot_ = seed % 2 == 0 ? 10000 : 1 + seed;
    for (int i = 0; i < 2000 && (model.size() < 40 || !leased.empty() || !stored.empty()); ++i) {
      switch (random() % 6) {
        case 0: {
          const v1::LeasePromptsResponse response = Lease(id, 3);
          for (const v1::PromptLease& lease : response.leases()) {
            const auto key = std::make_pair(lease.epoch(), lease.prompt_index());
            ASSERT_TRUE(model.emplace(key, Is::kLeased).second) << "leased twice";
            leased.push_back(lease);
          }
          break;
        }
        case 1:
        case 2: {
          if (leased.empty()) break;
          const v1::PromptLease lease = take(leased);
          const bool pair = random() % 3 != 0;
          const auto outcome = pair ? v1::PromptResult::STORED : v1::PromptResult::NO_PAIR;
          if (random() % 2 == 0) Report(id, lease, outcome);
          replay_.AddEvent(pair ? v1::PromptEvent::STORED : v1::PromptEvent::NO_PAIR, lease);
          model[{lease.epoch(), lease.prompt_index()}] = pair ? Is::kStored : Is::kOver;
          if (pair) stored.push_back(lease);
          break;
        }
        case 3: {
          if (stored.empty()) break;
          const v1::PromptLease lease = take(stored);
          replay_.AddEvent(v1::PromptEvent::CONSUMED, lease);
          model[{lease.epoch(), lease.prompt_index()}] = Is::kOver;
          break;
        }
        case 4:
          driver_.Step();
          coordinator_.Tick();
          break;
        default:
          if (random() % 2 == 0) break;
          Restart();
          ++restarts;
      }
    }
    driver_.Step();
    const v1::PromptCounts counts = Get(id).prompts();
    EXPECT_GT(restarts, 5);
    EXPECT_EQ(model.size(), 40u) << "skipped";
    EXPECT_EQ(counts.issued(), 40);
    EXPECT_EQ(counts.consumed() + counts.no_pair(), 40);
    v1::CancelJobRequest cancel;
    cancel.set_job_id(id);
    ASSERT_TRUE(coordinator_.CancelJob(cancel).ok());
    driver_.Step();
    replay_.events.clear();
  }
}

}  // namespace
}  // namespace dtrpo::coordinator

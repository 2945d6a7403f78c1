// Jobs whose learner is several ranks.
#include <gmock/gmock.h>

#include "services/coordinator/coordinator.h"
#include "tests/unit/coordinator/coordinator_harness.h"

namespace dtrpo::coordinator {
namespace {

using testing::HasSubstr;

class CoordinatorGangTest : public CoordinatorHarness {
 protected:
  static v1::JobSpec Ranks(int32_t ranks, int32_t min_ranks = 0) {
    v1::JobSpec spec = Spec();
    spec.mutable_training()->set_pairs_per_batch(4);
    spec.mutable_training()->set_ranks(ranks);
    spec.mutable_training()->set_min_ranks(min_ranks);
    return spec;
  }

  // Learner `name`, which has a process of that incarnation.
  std::string Learner(const std::string& name, std::optional<int32_t> ordinal = std::nullopt,
                      const std::string& incarnation = "a") {
    v1::RegisterWorkerRequest request;
    request.set_role(kLearner);
    request.set_address(name);
    request.set_incarnation(name + incarnation);
    request.set_rendezvous_address("rendezvous-of-" + name);
    if (ordinal.has_value()) request.set_ordinal(*ordinal);
    const auto response = coordinator_.RegisterWorker(request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? response->worker_id() : "";
  }

  std::string Begin(const v1::JobSpec& spec) {
    rollout_ = Register(kRollout);
    reference_ = Register(kReference);
    const std::string id = Submit(spec);
    driver_.Step();
    coordinator_.Tick();
    return id;
  }
};

TEST_F(CoordinatorGangTest, AJobOfTwoRanksWaitsForTwoLearnersAndTellsThemWhereToMeet) {
  const std::string first = Learner("one");
  const std::string id = Begin(Ranks(2));
  EXPECT_EQ(State(id), v1::PENDING);
  EXPECT_THAT(Get(id).reason(), HasSubstr("2 learners (there is 1)"));
  const std::string second = Learner("two"), third = Learner("three");
  EXPECT_EQ(State(id), v1::RUNNING);
  const v1::Assignment leader = Beat(first), follower = Beat(second);
  EXPECT_EQ(leader.rank(), 0);
  EXPECT_EQ(follower.rank(), 1);
  for (const v1::Assignment& assignment : {leader, follower}) {
    EXPECT_EQ(assignment.world(), 2);
    EXPECT_EQ(assignment.rendezvous(), "rendezvous-of-one");
    EXPECT_EQ(assignment.job().attempt(), 1);
  }
  EXPECT_EQ(Beat(third).job().job_id(), "") << "one more than wanted";
}

TEST_F(CoordinatorGangTest, OrdinalsSayWhoIsRankZero) {
  const std::string two = Learner("two", 2), unnumbered = Learner("none"),
                    zero = Learner("zero", 0);
  Begin(Ranks(3));
  EXPECT_EQ(Beat(zero).rank(), 0);
  EXPECT_EQ(Beat(two).rank(), 1);
  EXPECT_EQ(Beat(unnumbered).rank(), 2);
  EXPECT_EQ(Beat(two).rendezvous(), "rendezvous-of-zero");
}

TEST_F(CoordinatorGangTest, ASilentRankEndsTheAttemptAndIsNamedToEveryone) {
  const std::string first = Learner("one"), second = Learner("two");
  const std::string id = Begin(Ranks(2));
  ASSERT_EQ(State(id), v1::RUNNING);
  Pass(absl::Seconds(7), /*silent=*/{second});
  EXPECT_EQ(State(id), v1::RESTARTING);
  EXPECT_THAT(Get(id).reason(), HasSubstr("rank 1 of 2: " + second + " was silent"));
  const v1::Assignment survivor = Beat(first);
  EXPECT_EQ(survivor.job().job_id(), "");
  EXPECT_THAT(survivor.reason(), HasSubstr("rank 1 of 2: " + second));
  // min_ranks is 2 like ranks: it waits for another, however long.
  Pass(absl::Seconds(60));
  EXPECT_EQ(State(id), v1::RESTARTING);
  Learner("three");
  EXPECT_EQ(State(id), v1::RUNNING);
  EXPECT_EQ(Beat(first).job().attempt(), 2);
}

TEST_F(CoordinatorGangTest, WithFewerLearnersTheJobGoesOnAfterAWhileIfItMay) {
  const std::string first = Learner("one"), second = Learner("two");
  const std::string id = Begin(Ranks(2, /*min_ranks=*/1));
  ASSERT_TRUE(Checkpoint(id, 1, "out/step-1").ok());
  Pass(absl::Seconds(7), /*silent=*/{first});
  EXPECT_EQ(State(id), v1::RESTARTING) << "the lost one may come back";
  Pass(absl::Seconds(12));
  EXPECT_EQ(State(id), v1::RUNNING);
  const v1::Assignment alone = Beat(second);
  EXPECT_EQ(alone.rank(), 0);
  EXPECT_EQ(alone.world(), 1);
  EXPECT_EQ(alone.resume_checkpoint(), "out/step-1");
}

TEST_F(CoordinatorGangTest, ARankThatWasRestartedEndsTheAttemptAtOnce) {
  const std::string first = Learner("one");
  Learner("two");
  const std::string id = Begin(Ranks(2));
  Learner("two", std::nullopt, "another process");
  EXPECT_EQ(State(id), v1::RUNNING);
  const v1::Assignment next = Beat(first);
  EXPECT_EQ(next.job().attempt(), 2);
  EXPECT_THAT(next.reason(), HasSubstr("rank 1 of 2: learner-2 was replaced"));
}

TEST_F(CoordinatorGangTest, ARankMayEndTheAttemptButNotTheJob) {
  Learner("one");
  Learner("two");
  const std::string id = Begin(Ranks(2));
  v1::FinishTrainingRequest request;
  request.mutable_job()->set_job_id(id);
  request.mutable_job()->set_attempt(1);
  request.set_attempt_only(true);
  request.set_reason("rank 0 of 2, all-gather: connection closed");
  ASSERT_TRUE(coordinator_.FinishTraining(request).ok());
  EXPECT_EQ(State(id), v1::RUNNING) << "both are there for another attempt";
  EXPECT_EQ(Get(id).attempt(), 2);
  EXPECT_FALSE(coordinator_.FinishTraining(request).ok()) << "a stale word";
}

}  // namespace
}  // namespace dtrpo::coordinator

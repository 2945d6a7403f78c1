#include "services/coordinator/worker_registry.h"

#include <gtest/gtest.h>

namespace dtrpo::coordinator {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1000);

v1::RegisterWorkerRequest Request(const std::string& role, const std::string& address,
                                  const std::string& incarnation) {
  v1::RegisterWorkerRequest request;
  request.set_role(role);
  request.set_address(address);
  request.set_incarnation(incarnation);
  return request;
}

TEST(WorkerRegistryTest, TheSameIncarnationAgainIsTheSameWorker) {
  WorkerRegistry registry(absl::Seconds(5));
  const auto first = registry.Register(Request("rollout", "h:1", "a"), kStart);
  const auto again = registry.Register(Request("rollout", "h:1", "a"), kStart);
  ASSERT_TRUE(first.ok() && again.ok());
  EXPECT_EQ(first->worker_id, "rollout-1");
  EXPECT_EQ(again->worker_id, "rollout-1");
  EXPECT_EQ(again->replaced, "");
}

TEST(WorkerRegistryTest, AnotherIncarnationAtTheSameAddressTakesTheWorkersPlace) {
  WorkerRegistry registry(absl::Seconds(5));
  ASSERT_TRUE(registry.Register(Request("learner", "h:1", "a"), kStart).ok());
  const auto second = registry.Register(Request("learner", "h:1", "b"), kStart);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->worker_id, "learner-2");
  EXPECT_EQ(second->replaced, "learner-1");
  EXPECT_EQ(registry.Find("learner-1"), nullptr);
}

TEST(WorkerRegistryTest, ASilentWorkerIsGivenUpAfterTheTimeout) {
  WorkerRegistry registry(absl::Seconds(5));
  ASSERT_TRUE(registry.Register(Request("rollout", "h:1", "a"), kStart).ok());
  EXPECT_TRUE(registry.Expire(kStart + absl::Seconds(5)).empty());
  v1::HeartbeatRequest beat;
  beat.set_worker_id("rollout-1");
  ASSERT_TRUE(registry.Heartbeat(beat, kStart + absl::Seconds(5)).ok());
  EXPECT_TRUE(registry.Expire(kStart + absl::Seconds(10)).empty());
  const auto gone = registry.Expire(kStart + absl::Seconds(11));
  ASSERT_EQ(gone.size(), 1u);
  EXPECT_EQ(gone[0].id, "rollout-1");
  // It comes back as a new worker.
  EXPECT_TRUE(absl::IsNotFound(registry.Heartbeat(beat, kStart + absl::Seconds(12))));
  EXPECT_EQ(registry.Register(Request("rollout", "h:1", "a"), kStart)->worker_id, "rollout-2");
}

TEST(WorkerRegistryTest, ListsWorkersOfARoleOldestFirst) {
  WorkerRegistry registry(absl::Seconds(5));
  for (int i = 1; i <= 11; ++i) {
    const std::string n = std::to_string(i);
    ASSERT_TRUE(registry.Register(Request("rollout", "h:" + n, "i" + n), kStart).ok());
  }
  const auto rollouts = registry.OfRole(kRollout);
  ASSERT_EQ(rollouts.size(), 11u);
  EXPECT_EQ(rollouts[1]->id, "rollout-2");
  EXPECT_EQ(rollouts[10]->id, "rollout-11");
  EXPECT_TRUE(registry.OfRole(kLearner).empty());
}

TEST(WorkerRegistryTest, RefusesARoleItDoesntKnowAndNamelessWorkers) {
  WorkerRegistry registry(absl::Seconds(5));
  for (const auto& request :
       {Request("cook", "h:1", "a"), Request("rollout", "", "a"), Request("rollout", "h:1", "")}) {
    EXPECT_TRUE(absl::IsInvalidArgument(registry.Register(request, kStart).status()));
  }
}

}  // namespace
}  // namespace dtrpo::coordinator

// Requests that never arrive, and replies lost after the server has acted: the second is what finds
// an operation that isn't idempotent.
#include <cstdlib>
#include <iostream>

#include "tests/integration/loop_test.h"

namespace dtrpo {
namespace {

// DTRPO_FAULT_SEED=7 loses other messages.
uint64_t Seed() {
  const char* seed = std::getenv("DTRPO_FAULT_SEED");
  return seed == nullptr ? 20260318 : std::strtoull(seed, nullptr, 10);
}

TEST_F(LoopTest, LostRequestsAndRepliesLoseNothingAndCountNothingTwice) {
  const uint64_t seed = Seed();
  std::cout << "DTRPO_FAULT_SEED=" << seed << std::endl;
  ASSERT_NO_FATAL_FAILURE(MakeTask());
  ASSERT_NO_FATAL_FAILURE(
      StartCluster({.rollouts = 2, .extra_config = [seed](const std::string& kind) {
                      return absl::StrCat(
                          "  faults:\n    lost_request_probability: 0.05\n"
                          "    lost_reply_probability: 0.05\n    seed: ",
                          seed + kind.size(), "\n");
                    }}));
  const auto id = cluster_->Submit(task_.Job("blue", /*steps=*/80, /*learning_rate=*/1e-4));
  ASSERT_TRUE(id.ok()) << id.status();
  const auto job = cluster_->AwaitEnd(*id);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
  EXPECT_EQ(job->attempt(), 1);
  EXPECT_EQ(job->version(), 40);
  ExpectExactSums(*job);
  for (const v1::EvaluationRecord& evaluation : job->evaluations()) {
    EXPECT_TRUE(evaluation.complete()) << evaluation.version();
    EXPECT_EQ(evaluation.total() + evaluation.failed(), 36) << evaluation.version();
  }
  // The faults were real: replay answered repeated inserts.
  EXPECT_GT(ReplayMetric("dtrpo_replay_duplicate_inserts_total"), 0);
}

}  // namespace
}  // namespace dtrpo

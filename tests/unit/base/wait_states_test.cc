#include "common/base/wait_states.h"

#include <gtest/gtest.h>

#include "common/base/fake_metrics.h"
#include "common/base/simulated_clock.h"

namespace dtrpo::base {
namespace {

TEST(WaitStatesTest, SnapshotListsOpenWaitsOldestFirst) {
  SimulatedClock clock;
  WaitStateRegistry registry(&clock);
  const absl::Time start = clock.Now();
  ScopedWait batch(&registry, "batch 12", "replay-0");
  clock.Advance(absl::Seconds(2));
  {
    ScopedWait weights(&registry, "weights version >= 3", "learner");
    std::vector<WaitState> waits = registry.Snapshot();
    ASSERT_EQ(waits.size(), 2u);
    EXPECT_EQ(waits[0].what, "batch 12");
    EXPECT_EQ(waits[0].on_whom, "replay-0");
    EXPECT_EQ(waits[0].since, start);
    EXPECT_FALSE(waits[0].thread.empty());
    EXPECT_EQ(waits[1].what, "weights version >= 3");
    EXPECT_EQ(waits[1].since, start + absl::Seconds(2));
  }
  EXPECT_EQ(registry.Snapshot().size(), 1u);
}

TEST(WaitStatesTest, WaitsAreMeasuredByTheRoleThatIsWaitedFor) {
  SimulatedClock clock;
  FakeMetrics metrics;
  WaitStateRegistry registry(&clock, &metrics);
  const Labels replay = {{"on", "replay"}};
  {
    ScopedWait batch(&registry, "batch 12", "replay 127.0.0.1:4003");
    ScopedWait pairs(&registry, "pairs", "rollouts");
    ScopedWait ranks(&registry, "the others", "rank 1 of 2");
    clock.Advance(absl::Seconds(2));
    EXPECT_EQ(metrics.Value("dtrpo_waiting_count", replay), 1);
    EXPECT_EQ(metrics.Value("dtrpo_waiting_count", {{"on", "rollout"}}), 1);
    EXPECT_EQ(metrics.Value("dtrpo_waiting_count", {{"on", "other"}}), 1);
    EXPECT_EQ(metrics.Value("dtrpo_wait_seconds_total", replay), 0);
  }
  EXPECT_EQ(metrics.Sum("dtrpo_waiting_count"), 0);
  EXPECT_EQ(metrics.Value("dtrpo_wait_seconds_total", replay), 2);
  EXPECT_EQ(metrics.Sum("dtrpo_wait_seconds_total"), 6);
}

TEST(WaitStatesTest, ANullRegistryIsAccepted) { ScopedWait wait(nullptr, "x", "y"); }

}  // namespace
}  // namespace dtrpo::base

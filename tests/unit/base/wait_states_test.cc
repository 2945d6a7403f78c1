#include "common/base/wait_states.h"

#include <gtest/gtest.h>

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

TEST(WaitStatesTest, ANullRegistryIsAccepted) { ScopedWait wait(nullptr, "x", "y"); }

}  // namespace
}  // namespace dtrpo::base

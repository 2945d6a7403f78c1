#include "common/trajectory/ids.h"

#include <gtest/gtest.h>

namespace dtrpo::trajectory {
namespace {

TEST(IdsTest, IdsNameWhatTheyDeriveFrom) {
  EXPECT_EQ(TrajectoryId("add-1", 2, 30, 1, 7), "add-1/2/30/1/7");
  EXPECT_EQ(PairId("add-1", 2, 30, 1, 0), "add-1/2/30/1/p0");
}

TEST(IdsTest, SeedsDifferByJobAndTrajectory) {
  EXPECT_EQ(TrajectorySeed(1, "a/0/0/0/0"), TrajectorySeed(1, "a/0/0/0/0"));
  EXPECT_NE(TrajectorySeed(1, "a/0/0/0/0"), TrajectorySeed(2, "a/0/0/0/0"));
  EXPECT_NE(TrajectorySeed(1, "a/0/0/0/0"), TrajectorySeed(1, "a/0/0/0/1"));
}

// Seeds are on record in trajectories: a change would make old runs irreproducible.
TEST(IdsTest, SeedsNeverChange) {
  EXPECT_EQ(TrajectorySeed(1, "add-1/0/0/0/0"), 2956193275710334852u);
}

}  // namespace
}  // namespace dtrpo::trajectory

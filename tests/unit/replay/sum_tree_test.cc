#include "services/replay/sum_tree.h"

#include <vector>

#include "common/base/philox.h"
#include "gtest/gtest.h"

namespace dtrpo::replay {
namespace {

TEST(SumTreeTest, FindsThePlaceWhereTheRunningSumPassesThePoint) {
  SumTree tree;
  const std::vector<double> weights = {1, 0, 2, 4, 0};  // running sums 1, 1, 3, 7, 7
  for (size_t i = 0; i < weights.size(); ++i) tree.Set(i, weights[i]);
  EXPECT_EQ(tree.total(), 7);
  EXPECT_EQ(tree.Find(0), 0u);
  EXPECT_EQ(tree.Find(0.99), 0u);
  EXPECT_EQ(tree.Find(1), 2u);
  EXPECT_EQ(tree.Find(2.99), 2u);
  EXPECT_EQ(tree.Find(3), 3u);
  EXPECT_EQ(tree.Find(6.99), 3u);
}

TEST(SumTreeTest, NeverFindsAPlaceWithoutWeightWhateverRoundingDoes) {
  base::CounterRng random(1, 0);
  SumTree tree;
  for (size_t i = 0; i < 33; ++i) tree.Set(i, i % 3 == 0 ? 0 : 1e-150 + random.Uniform01() * 1e-3);
  tree.Set(7, 1e150);
  tree.Set(7, 0);  // its rounding must not stay
  for (int i = 0; i < 2000; ++i) {
    EXPECT_GT(tree.Get(tree.Find(random.Uniform01() * tree.total())), 0);
  }
  // Even a point that rounding carried to the end.
  EXPECT_GT(tree.Get(tree.Find(tree.total())), 0);
}

TEST(SumTreeTest, IsAFunctionOfItsLeavesAlone) {
  base::CounterRng random(2, 0);
  SumTree changed, fresh;
  std::vector<double> weights(100);
  for (int i = 0; i < 5000; ++i) {
    const size_t place = random.UniformInt(weights.size());
    weights[place] = random.Uniform01();
    changed.Set(place, weights[place]);
  }
  for (size_t i = 0; i < weights.size(); ++i) fresh.Set(i, weights[i]);
  EXPECT_EQ(changed.total(), fresh.total());  // the same bits
  for (int i = 0; i < 100; ++i) {
    const double point = random.Uniform01() * fresh.total();
    EXPECT_EQ(changed.Find(point), fresh.Find(point));
  }
}

}  // namespace
}  // namespace dtrpo::replay

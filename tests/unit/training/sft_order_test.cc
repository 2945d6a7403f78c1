#include "common/training/sft_order.h"

#include <algorithm>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace dtrpo::training {
namespace {

using ::testing::Each;

std::vector<int64_t> Epoch(SftOrder& order, int64_t examples, int64_t epoch) {
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < examples; ++i) indices.push_back(order.ExampleAt(epoch * examples + i));
  return indices;
}

TEST(SftOrderTest, EveryEpochUsesEveryExampleOnceInItsOwnOrder) {
  SftOrder order(50, /*seed=*/3);
  const std::vector<int64_t> first = Epoch(order, 50, 0), second = Epoch(order, 50, 1);
  for (const std::vector<int64_t>& epoch : {first, second}) {
    std::vector<int> uses(50, 0);
    for (const int64_t index : epoch) ++uses.at(index);
    EXPECT_THAT(uses, Each(1));
    EXPECT_FALSE(std::is_sorted(epoch.begin(), epoch.end()));
  }
  EXPECT_NE(first, second);
}

TEST(SftOrderTest, AUseIsAFunctionOfTheSeedWhateverWasAskedBefore) {
  SftOrder order(50, 3), again(50, 3), other(50, 4);
  const std::vector<int64_t> second = Epoch(order, 50, 1), first = Epoch(order, 50, 0);
  EXPECT_EQ(Epoch(again, 50, 0), first);
  EXPECT_EQ(Epoch(again, 50, 1), second);
  EXPECT_NE(Epoch(other, 50, 0), first);
}

}  // namespace
}  // namespace dtrpo::training

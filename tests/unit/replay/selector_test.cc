// The selectors: what they draw, how often (chi-square), and that a rebuilt one draws the same.
#include "services/replay/selector.h"

#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "common/base/philox.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/replay/prioritised_selector.h"
#include "services/replay/uniform_selector.h"
#include "tests/unit/replay/table_harness.h"

namespace dtrpo::replay {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

// Sum of (seen - expected)^2 / expected. Limits below are the chi-square quantile for 1 - 1e-4; the
// seeds are fixed, so a test that passes does so always.
double ChiSquare(const std::map<std::vector<ItemId>, int>& seen,
                 const std::map<std::vector<ItemId>, double>& chances, int draws) {
  double sum = 0;
  int counted = 0;
  for (const auto& [outcome, chance] : chances) {
    auto it = seen.find(outcome);
    const int times = it == seen.end() ? 0 : it->second;
    counted += times;
    const double expected = chance * draws;
    sum += (times - expected) * (times - expected) / expected;
  }
  EXPECT_EQ(counted, draws) << "an outcome that has no chance";
  return sum;
}

std::map<std::vector<ItemId>, int> Draw(const Selector& selector, int draws, int64_t count) {
  std::map<std::vector<ItemId>, int> seen;
  for (int batch = 1; batch <= draws; ++batch) ++seen[selector.Select(batch, count)];
  return seen;
}

constexpr double kLimit19 = 50.8;  // degrees of freedom
constexpr double kLimit11 = 37.4;

TEST(UniformSelectorTest, EveryItemIsEquallyLikely) {
  UniformSelector selector(7);
  std::map<std::vector<ItemId>, double> chances;
  for (ItemId id = 1; id <= 25; ++id) selector.Add({.id = id});
  for (ItemId id = 3; id <= 25; id += 5) selector.Remove(id);
  for (ItemId id : selector.Items()) chances[{id}] = 1.0 / 20;
  ASSERT_THAT(chances, SizeIs(20));
  EXPECT_LT(ChiSquare(Draw(selector, 20000, 1), chances, 20000), kLimit19);
}

TEST(UniformSelectorTest, EveryOrderedPairIsEquallyLikely) {
  UniformSelector selector(8);
  std::map<std::vector<ItemId>, double> chances;
  for (ItemId a = 1; a <= 4; ++a) {
    selector.Add({.id = a});
    for (ItemId b = 1; b <= 4; ++b) {
      if (a != b) chances[{a, b}] = 1.0 / 12;
    }
  }
  EXPECT_LT(ChiSquare(Draw(selector, 12000, 2), chances, 12000), kLimit11);
}

// Chances of drawing a, then b without putting a back.
std::map<std::vector<ItemId>, double> PairChances(const std::vector<double>& weights) {
  double total = 0;
  for (double weight : weights) total += weight;
  std::map<std::vector<ItemId>, double> chances;
  for (size_t a = 0; a < weights.size(); ++a) {
    for (size_t b = 0; b < weights.size(); ++b) {
      if (a == b) continue;
      chances[{static_cast<ItemId>(a) + 1, static_cast<ItemId>(b) + 1}] =
          weights[a] / total * weights[b] / (total - weights[a]);
    }
  }
  return chances;
}

TEST(PrioritisedSelectorTest, ChancesAreProportionalToThePowerOfThePriority) {
  PrioritisedSelector selector(9, 2);
  const std::vector<double> priorities = {1, 2, 0.5, 1.5};
  std::vector<double> weights;
  for (size_t i = 0; i < priorities.size(); ++i) {
    selector.Add({.id = static_cast<ItemId>(i) + 1, .priority = priorities[i]});
    weights.push_back(priorities[i] * priorities[i]);
  }
  const auto seen = Draw(selector, 20000, 2);
  EXPECT_LT(ChiSquare(seen, PairChances(weights), 20000), kLimit11);
  // The test can tell another exponent.
  EXPECT_GT(ChiSquare(seen, PairChances(priorities), 20000), 100 * kLimit11);
}

TEST(PrioritisedSelectorTest, FollowsAnUpdateAndARemoval) {
  PrioritisedSelector selector(10, 1);
  for (ItemId id = 1; id <= 5; ++id) selector.Add({.id = id, .priority = 100});
  selector.Remove(5);
  const std::vector<double> weights = {4, 1, 1, 2};
  for (ItemId id = 1; id <= 4; ++id) selector.SetPriority(id, weights[id - 1]);
  EXPECT_LT(ChiSquare(Draw(selector, 20000, 2), PairChances(weights), 20000), kLimit11);
}

TEST(PrioritisedSelectorTest, ItemsWithoutPriorityAreWithinReachAndHugeOnesDontOverflow) {
  PrioritisedSelector selector(11, 100);
  selector.Add({.id = 1, .priority = 0});
  selector.Add({.id = 2, .priority = kMaxPriority});
  selector.Add({.id = 3, .priority = 0});
  EXPECT_THAT(selector.Select(1, 1), ElementsAre(2));
  EXPECT_THAT(selector.Select(1, 3), SizeIs(3));
  EXPECT_THAT(selector.Select(1, 9), SizeIs(3));
}

TEST(NewestSelectorTest, TakesTheNewestVersionAndWithinItTheOldestItem) {
  TableOptions options = SmallJob();
  options.selector = SelectorKind::kNewest;
  auto selector = MakeSelector(options);
  selector->Add({.id = 1, .version = 3});
  selector->Add({.id = 2, .version = 4});
  selector->Add({.id = 3, .version = -1});
  selector->Add({.id = 4, .version = 4});
  selector->Add({.id = 5, .version = 3});
  EXPECT_THAT(selector->Select(1, 4), ElementsAre(2, 4, 1, 5));
  selector->Remove(2);
  selector->Add({.id = 2, .version = 4});  // used once
  EXPECT_THAT(selector->Select(2, 5), ElementsAre(4, 2, 1, 5, 3));
}

class AnySelectorTest : public ::testing::TestWithParam<SelectorKind> {};

// What recovery needs: the same calls, or a rebuild from Items(), give the same batches.
TEST_P(AnySelectorTest, ARebuiltOneDrawsTheSame) {
  TableOptions options = SmallJob();
  options.selector = GetParam();
  options.seed = 5;
  options.priority_exponent = 0.7;
  auto selector = MakeSelector(options);
  base::CounterRng random(12, static_cast<uint64_t>(GetParam()));
  std::map<ItemId, Candidate> held;
  for (ItemId id = 1; id <= 400; ++id) {
    Candidate candidate = {.id = id,
                           .version = static_cast<int64_t>(random.UniformInt(4)),
                           .priority = random.Uniform01()};
    selector->Add(candidate);
    held[id] = candidate;
    if (random.UniformInt(2) == 0) {
      const auto victim = std::next(held.begin(), random.UniformInt(held.size()));
      selector->Remove(victim->first);
      held.erase(victim);
    }
    if (held.empty()) continue;
    Candidate& updated = std::next(held.begin(), random.UniformInt(held.size()))->second;
    updated.priority = random.Uniform01();
    selector->SetPriority(updated.id, updated.priority);
  }
  auto rebuilt = MakeSelector(options);
  for (ItemId id : selector->Items()) rebuilt->Add(held.at(id));
  ASSERT_EQ(selector->size(), static_cast<int64_t>(held.size()));
  for (int64_t batch = 1; batch <= 50; ++batch) {
    const std::vector<ItemId> chosen = selector->Select(batch, 20);
    EXPECT_EQ(chosen, rebuilt->Select(batch, 20));
    EXPECT_EQ(chosen, selector->Select(batch, 20)) << "asking changed something";
    EXPECT_THAT(std::set<ItemId>(chosen.begin(), chosen.end()), SizeIs(chosen.size()));
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, AnySelectorTest,
                         ::testing::Values(SelectorKind::kFifo, SelectorKind::kUniform,
                                           SelectorKind::kPrioritised, SelectorKind::kNewest));

// ---------------------------------------------------------------- priorities of a table

TEST(TablePrioritiesTest, AreTakenOncePerBatch) {
  TableOptions options = SmallJob();
  options.selector = SelectorKind::kPrioritised;
  options.priority = PrioritySource::kLearner;
  options.priority_exponent = 1;
  options.max_uses = 2;
  TableHarness harness(options);
  Fill(harness, 0, 2, 0);
  const Batch batch = *harness.GetBatch(1);
  EXPECT_TRUE(*harness.UpdatePriorities(1, {5, 7}));
  EXPECT_FALSE(*harness.UpdatePriorities(1, {1, 1}));  // another attempt computes the step again
  EXPECT_EQ(harness.table().FindItem(batch.entries[0].item)->priority, 5);
  EXPECT_EQ(harness.table().FindItem(batch.entries[1].item)->priority, 7);
  Fill(harness, 2, 1, 0);
  EXPECT_EQ(harness.table().FindItem(3)->priority, 7) << "a new item isn't the most interesting";
  ASSERT_TRUE(harness.Acknowledge(1).ok());
  EXPECT_FALSE(*harness.UpdatePriorities(1, {1, 1}));
  EXPECT_EQ(harness.Replayed().ToSnapshot(), harness.table().ToSnapshot());
}

TEST(TablePrioritiesTest, HostileOnesAreRefusedByField) {
  TableHarness harness;
  Fill(harness, 0, 2, 0);
  ASSERT_TRUE(harness.GetBatch(1).ok());
  const std::vector<std::vector<double>> hostile = {{1, -1},   {1, std::nan("")}, {1, INFINITY},
                                                    {1, 1e10}, {1, -0.00000001},  {1, -INFINITY}};
  for (const std::vector<double>& priorities : hostile) {
    const absl::Status status = harness.UpdatePriorities(1, priorities).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), ::testing::HasSubstr("priorities[1]"));
  }
  EXPECT_THAT(harness.UpdatePriorities(1, {1}).status().message(), ::testing::HasSubstr("2 items"));
  EXPECT_THAT(harness.UpdatePriorities(2, {1, 1}).status().message(),
              ::testing::HasSubstr("batch"));
  EXPECT_TRUE(*harness.UpdatePriorities(1, {1, 0}));
}

}  // namespace
}  // namespace dtrpo::replay

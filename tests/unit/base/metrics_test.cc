#include "common/base/metrics.h"

#include <gtest/gtest.h>

#include "common/base/fake_metrics.h"

namespace dtrpo::base {
namespace {

TEST(FakeMetricsTest, RemembersValuesPerNameAndLabels) {
  FakeMetrics metrics;
  metrics.GetCounter("dtrpo_x_items_total", "Items.", {{"kind", "a"}})->Increment();
  metrics.GetCounter("dtrpo_x_items_total", "Items.", {{"kind", "a"}})->Increment(2);
  metrics.GetCounter("dtrpo_x_items_total", "Items.", {{"kind", "b"}})->Increment();
  metrics.GetGauge("dtrpo_x_depth_items", "Depth.")->Set(5);
  metrics.GetGauge("dtrpo_x_depth_items", "Depth.")->Add(-1);
  metrics.GetHistogram("dtrpo_x_wait_seconds", "Wait.", LatencyBuckets())->Observe(0.25);
  EXPECT_EQ(metrics.Value("dtrpo_x_items_total", {{"kind", "a"}}), 3);
  EXPECT_EQ(metrics.Sum("dtrpo_x_items_total"), 4);
  EXPECT_EQ(metrics.Value("dtrpo_x_depth_items"), 4);
  EXPECT_EQ(metrics.Observations("dtrpo_x_wait_seconds"), std::vector<double>{0.25});
  EXPECT_EQ(metrics.Names().size(), 3u);
  EXPECT_EQ(metrics.Value("dtrpo_x_never_asked_for"), 0);
}

TEST(FakeMetricsTest, TheOrderOfLabelsDoesNotMatter) {
  FakeMetrics metrics;
  EXPECT_EQ(metrics.GetGauge("g", "", {{"a", "1"}, {"b", "2"}}),
            metrics.GetGauge("g", "", {{"b", "2"}, {"a", "1"}}));
}

TEST(MetricsTest, BucketsGrowByTheFactor) {
  EXPECT_EQ(ExponentialBuckets(1, 2, 4), (std::vector<double>{1, 2, 4, 8}));
  EXPECT_GT(LatencyBuckets().back(), 60);
}

TEST(MetricsDeathTest, BadNamesAreProgrammerErrors) {
  EXPECT_DEATH(NullMetrics()->GetCounter("dtrpo_items", ""), "dtrpo_items");
  EXPECT_DEATH(NullMetrics()->GetGauge("dtrpo_items_total", ""), "dtrpo_items_total");
  EXPECT_DEATH(NullMetrics()->GetGauge("Dtrpo-items", ""), "Dtrpo-items");
}

}  // namespace
}  // namespace dtrpo::base

#include "common/base/metrics.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/base/fake_metrics.h"
#include "common/base/run_gauges.h"

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

TEST(RunGaugesTest, OnlyTheRunsShownLastHaveSeries) {
  FakeMetrics metrics;
  RunGauges gauges(&metrics, {{"dtrpo_x_step_count", "Step."}});
  for (size_t run = 0; run <= RunGauges::kMaxRuns; ++run) {
    gauges.Set(absl::StrCat("run-", run), "dtrpo_x_step_count", 1, {{"kind", "a"}});
    gauges.Set(absl::StrCat("run-", run), "dtrpo_x_step_count", 2, {{"kind", "b"}});
  }
  const auto value = [&](const char* run) {
    return metrics.Value("dtrpo_x_step_count", {{"run", run}, {"kind", "b"}});
  };
  EXPECT_EQ(value("run-0"), 0);
  EXPECT_EQ(value("run-1"), 2);
  EXPECT_EQ(value("run-8"), 2);
  EXPECT_EQ(metrics.Sum("dtrpo_x_step_count"), 3.0 * RunGauges::kMaxRuns);
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

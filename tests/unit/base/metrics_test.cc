#include "common/base/metrics.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/base/fake_metrics.h"
#include "common/base/per_run.h"
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

struct ItemMetrics {
  explicit ItemMetrics(MetricsRegistry* registry)
      : items(registry->GetCounter("dtrpo_x_items_total", "Items.", {{"kind", "a"}})),
        depth(registry->GetGauge("dtrpo_x_depth_items", "Depth.")),
        wait(registry->GetHistogram("dtrpo_x_wait_seconds", "Wait.", LatencyBuckets())) {}
  Counter* items;
  Gauge* depth;
  Histogram* wait;
};

TEST(PerRunTest, ARunHasItsSeriesWhileItLastsAndSomeTimeAfter) {
  FakeMetrics metrics;
  PerRun<ItemMetrics> of_run(&metrics);
  const auto items = [&](const std::string& run) {
    return metrics.Value("dtrpo_x_items_total", {{"run", run}, {"kind", "a"}});
  };
  const auto lasting = of_run.Of("lasting");
  lasting->items->Increment();
  for (size_t run = 0; run <= PerRun<ItemMetrics>::kMaxEnded; ++run) {
    const auto again = of_run.Of(absl::StrCat("run-", run));
    again->items->Increment();
    again->depth->Set(1);
    again->wait->Observe(1);
  }
  EXPECT_EQ(items("run-0"), 0) << "of those that ended it is one too many";
  EXPECT_TRUE(metrics.Observations("dtrpo_x_wait_seconds", {{"run", "run-0"}}).empty());
  EXPECT_EQ(items("run-1"), 1);
  EXPECT_EQ(items("run-8"), 1);
  EXPECT_EQ(metrics.Sum("dtrpo_x_depth_items"), 8) << "the lasting one has 0";
  EXPECT_EQ(items("lasting"), 1) << "how ever many others have ended";
  EXPECT_EQ(of_run.Of("run-1")->items, of_run.Of("run-1")->items);
  of_run.Of("run-1")->items->Increment();
  EXPECT_EQ(items("run-1"), 2) << "one that begins again goes on with its series";
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

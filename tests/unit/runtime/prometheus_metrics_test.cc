#include "common/runtime/prometheus_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/unit/runtime/http_get.h"

namespace dtrpo::runtime {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(PrometheusMetricsTest, ServesWhatWasRecorded) {
  auto metrics = PrometheusMetrics::Create("127.0.0.1:0", /*insecure=*/false);
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  (*metrics)->GetCounter("dtrpo_x_items_total", "Items.", {{"kind", "a"}})->Increment(3);
  (*metrics)->GetGauge("dtrpo_x_depth_items", "Depth.")->Set(5);
  (*metrics)->GetHistogram("dtrpo_x_wait_seconds", "Wait.", {0.1, 1}, {{"k", "v"}})->Observe(0.5);
  const std::string page = HttpGet((*metrics)->address(), "/metrics");
  EXPECT_THAT(page, HasSubstr("# HELP dtrpo_x_items_total Items."));
  EXPECT_THAT(page, HasSubstr("dtrpo_x_items_total{kind=\"a\"} 3"));
  EXPECT_THAT(page, HasSubstr("dtrpo_x_depth_items 5"));
  EXPECT_THAT(page, HasSubstr("dtrpo_x_wait_seconds_bucket{k=\"v\",le=\"0.1\"} 0"));
  EXPECT_THAT(page, HasSubstr("dtrpo_x_wait_seconds_bucket{k=\"v\",le=\"1\"} 1"));
}

TEST(PrometheusMetricsTest, EverySeriesOfAServiceHasItsRoleAndTheProcessTellsOfItself) {
  auto metrics = PrometheusMetrics::Create("127.0.0.1:0", /*insecure=*/false, "replay");
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  (*metrics)->GetGauge("dtrpo_x_depth_items", "Depth.", {{"run", "a-1"}})->Set(5);
  (*metrics)->GetGauge("dtrpo_x_depth_items", "Depth.", {{"run", "a-2"}})->Set(6);
  (*metrics)->RemoveGauge("dtrpo_x_depth_items", {{"run", "a-1"}});
  const std::string page = HttpGet((*metrics)->address(), "/metrics");
  EXPECT_THAT(page, HasSubstr("dtrpo_x_depth_items{role=\"replay\",run=\"a-2\"} 6"));
  EXPECT_THAT(page, Not(HasSubstr("a-1")));
  EXPECT_THAT(page, HasSubstr("dtrpo_build_info{git=\""));
  for (const char* name : {"start_time_seconds", "cpu_seconds_total", "resident_memory_bytes",
                           "open_fds", "max_fds"}) {
    EXPECT_THAT(page, HasSubstr(absl::StrCat("\nprocess_", name, "{role=\"replay\"} "))) << name;
  }
}

TEST(PrometheusMetricsTest, TheSameNameAndLabelsAreTheSameMetric) {
  auto metrics = PrometheusMetrics::Create("off", /*insecure=*/false);
  ASSERT_TRUE(metrics.ok());
  EXPECT_EQ((*metrics)->address(), "");
  EXPECT_EQ((*metrics)->GetCounter("x_total", "X.", {{"a", "1"}, {"b", "2"}}),
            (*metrics)->GetCounter("x_total", "X.", {{"b", "2"}, {"a", "1"}}));
  EXPECT_NE((*metrics)->GetCounter("x_total", "X.", {{"a", "1"}}),
            (*metrics)->GetCounter("x_total", "X.", {{"a", "2"}}));
}

TEST(PrometheusMetricsTest, APortInUseIsOneLine) {
  auto first = PrometheusMetrics::Create("127.0.0.1:0", /*insecure=*/false);
  ASSERT_TRUE(first.ok());
  const std::string address = (*first)->address();
  EXPECT_EQ(PrometheusMetrics::Create(address, /*insecure=*/false).status().message(),
            "can't listen on " + address + ": Address already in use");
}

}  // namespace
}  // namespace dtrpo::runtime

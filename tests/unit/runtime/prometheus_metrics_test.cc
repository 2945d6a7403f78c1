#include "common/runtime/prometheus_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/atomic_file.h"
#include "common/base/file_system.h"
#include "tests/unit/runtime/http_get.h"
#include "tools/certs/role_certificates.h"

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
  (*metrics)->RemoveSeries("dtrpo_x_depth_items", {{"run", "a-1"}});
  (*metrics)->GetCounter("dtrpo_x_items_total", "Items.", {{"run", "a-1"}})->Increment();
  (*metrics)->RemoveSeries("dtrpo_x_items_total", {{"run", "a-1"}});
  (*metrics)->GetHistogram("dtrpo_x_wait_seconds", "Wait.", {1}, {{"run", "a-1"}})->Observe(1);
  (*metrics)->RemoveSeries("dtrpo_x_wait_seconds", {{"run", "a-1"}});
  const std::string page = HttpGet((*metrics)->address(), "/metrics");
  EXPECT_THAT(page, HasSubstr("dtrpo_x_depth_items{role=\"replay\",run=\"a-2\"} 6"));
  EXPECT_THAT(page, Not(HasSubstr("a-1")));
  EXPECT_THAT(page, HasSubstr("dtrpo_build_info{git=\""));
  for (const char* name : {"start_time_seconds", "cpu_seconds_total", "resident_memory_bytes",
                           "open_fds", "max_fds"}) {
    EXPECT_THAT(page, HasSubstr(absl::StrCat("\nprocess_", name, "{role=\"replay\"} "))) << name;
  }
}

TEST(PrometheusMetricsTest, TellsWhenTheCertificatesEndAlsoAfterTheyAreRenewed) {
  tools::RoleCertificateOptions options;
  options.dir = testing::TempDir() + "expiry";
  std::filesystem::remove_all(options.dir);
  options.roles = {rpc::Role::kReplay};
  options.now = absl::FromUnixSeconds(1'800'000'000);
  options.valid_for = absl::Seconds(5'000);
  options.authority_valid_for = absl::Seconds(100'000);
  ASSERT_TRUE(tools::MakeRoleCertificates(options).ok());
  const rpc::TlsFiles files = tools::RoleFiles(options.dir, "replay");
  auto metrics = PrometheusMetrics::Create("127.0.0.1:0", /*insecure=*/false, "replay", files);
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  const auto expiry = [&](absl::string_view certificate) {
    const std::string page = HttpGet((*metrics)->address(), "/metrics");
    const std::string series =
        absl::StrCat("\ndtrpo_tls_certificate_expiry_timestamp_seconds{certificate=\"", certificate,
                     "\",role=\"replay\"} ");
    const size_t at = page.find(series);
    double value = 0;
    if (at == std::string::npos) return value;
    const size_t begin = at + series.size();
    EXPECT_TRUE(absl::SimpleAtod(page.substr(begin, page.find('\n', begin) - begin), &value));
    return value;
  };
  EXPECT_EQ(expiry("own"), 1'800'005'000);
  EXPECT_EQ(expiry("ca"), 1'800'100'000);

  options.valid_for = absl::Seconds(7'000);
  ASSERT_TRUE(tools::MakeRoleCertificates(options).ok());
  EXPECT_EQ(expiry("own"), 1'800'007'000);
  ASSERT_TRUE(
      base::WriteFileAtomically(base::PosixFileSystem(), files.certificate, "half a file").ok());
  EXPECT_EQ(expiry("own"), 1'800'007'000) << "what is still in use";
  // The first of a chain or of a bundle.
  const std::string ca = *base::PosixFileSystem()->Read(files.ca);
  options.dir += "_other";
  options.authority_valid_for = absl::Seconds(9'000);
  std::filesystem::remove_all(options.dir);
  ASSERT_TRUE(tools::MakeRoleCertificates(options).ok());
  const std::string other =
      *base::PosixFileSystem()->Read(tools::RoleFiles(options.dir, "replay").ca);
  ASSERT_TRUE(base::WriteFileAtomically(base::PosixFileSystem(), files.ca, ca + other).ok());
  EXPECT_EQ(expiry("ca"), 1'800'009'000);
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

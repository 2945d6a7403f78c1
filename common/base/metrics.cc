#include "common/base/metrics.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "common/base/check.h"

namespace dtrpo::base {
namespace {

class NullCounter : public Counter {
  void Increment(double) override {}
};
class NullGauge : public Gauge {
  void Set(double) override {}
  void Add(double) override {}
};
class NullHistogram : public Histogram {
  void Observe(double) override {}
};

class NullRegistry : public MetricsRegistry {
 public:
  Counter* GetCounter(const std::string& name, const std::string&, const Labels&) override {
    CheckMetricName(name, /*is_counter=*/true);
    return &counter_;
  }
  Gauge* GetGauge(const std::string& name, const std::string&, const Labels&) override {
    CheckMetricName(name, /*is_counter=*/false);
    return &gauge_;
  }
  Histogram* GetHistogram(const std::string& name, const std::string&, const std::vector<double>&,
                          const Labels&) override {
    CheckMetricName(name, /*is_counter=*/false);
    return &histogram_;
  }
  void RemoveSeries(const std::string&, const Labels&) override {}

 private:
  NullCounter counter_;
  NullGauge gauge_;
  NullHistogram histogram_;
};

}  // namespace

MetricsRegistry* NullMetrics() {
  static NullRegistry* const registry = new NullRegistry;
  return registry;
}

std::vector<double> ExponentialBuckets(double start, double factor, int count) {
  std::vector<double> buckets;
  for (double bound = start; count > 0; --count, bound *= factor) buckets.push_back(bound);
  return buckets;
}

std::vector<double> LatencyBuckets() { return ExponentialBuckets(0.0005, 2, 18); }

void CheckMetricName(absl::string_view name, bool is_counter) {
  DTRPO_CHECK(!name.empty() && absl::ascii_islower(name[0])) << name;
  for (char c : name) {
    DTRPO_CHECK(absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '_') << name;
  }
  DTRPO_CHECK_EQ(absl::EndsWith(name, "_total"), is_counter) << name;
}

}  // namespace dtrpo::base

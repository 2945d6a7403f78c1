// Metrics as injected objects. Registry and metrics are thread-safe.
// Names: dtrpo_<service>_<thing>_<unit>[_total], base units (seconds, bytes); labels have few
// values. Implementations: runtime::PrometheusMetrics, FakeMetrics (fake_metrics.h), NullMetrics().
//
// Ownership: the registry owns its metrics; a pointer lives as long as the registry, or until
// RemoveSeries(). Asking twice for the same name and labels gives the same metric.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace dtrpo::base {

// Pairs of label name and value; the order doesn't matter.
using Labels = std::vector<std::pair<std::string, std::string>>;

class Counter {
 public:
  virtual ~Counter() = default;
  virtual void Increment(double by) = 0;  // REQUIRES: by >= 0
  void Increment() { Increment(1); }
};

class Gauge {
 public:
  virtual ~Gauge() = default;
  virtual void Set(double value) = 0;
  virtual void Add(double by) = 0;
};

class Histogram {
 public:
  virtual ~Histogram() = default;
  virtual void Observe(double value) = 0;
};

class MetricsRegistry {
 public:
  virtual ~MetricsRegistry() = default;

  // REQUIRES: a valid name (see CheckMetricName); one kind and one help text per name.
  virtual Counter* GetCounter(const std::string& name, const std::string& help,
                              const Labels& labels = {}) = 0;
  virtual Gauge* GetGauge(const std::string& name, const std::string& help,
                          const Labels& labels = {}) = 0;
  // `buckets`: ascending upper bounds, in the unit of the name.
  virtual Histogram* GetHistogram(const std::string& name, const std::string& help,
                                  const std::vector<double>& buckets,
                                  const Labels& labels = {}) = 0;

  // A series that has ended, as that of a run which is over; its metric is gone with it.
  virtual void RemoveSeries(const std::string& name, const Labels& labels) = 0;
};

// Accepts everything, keeps nothing; lives for ever.
MetricsRegistry* NullMetrics();

// count bounds: start, start * factor, ...
std::vector<double> ExponentialBuckets(double start, double factor, int count);
// Seconds from 0.5 ms to 64 s, for calls and waits.
std::vector<double> LatencyBuckets();

// Aborts unless the name is [a-z][a-z0-9_]*; a counter's name ends in "_total".
void CheckMetricName(absl::string_view name, bool is_counter);

}  // namespace dtrpo::base

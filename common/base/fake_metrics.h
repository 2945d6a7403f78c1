// A metrics registry whose values a test can read. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/metrics.h"

namespace dtrpo::base {

class FakeMetrics : public MetricsRegistry {
 public:
  FakeMetrics();
  ~FakeMetrics() override;

  Counter* GetCounter(const std::string& name, const std::string& help,
                      const Labels& labels = {}) override;
  Gauge* GetGauge(const std::string& name, const std::string& help,
                  const Labels& labels = {}) override;
  Histogram* GetHistogram(const std::string& name, const std::string& help,
                          const std::vector<double>& buckets, const Labels& labels = {}) override;
  void RemoveSeries(const std::string& name, const Labels& labels) override;

  // Of a counter or gauge; 0 when nobody asked for it.
  double Value(const std::string& name, const Labels& labels = {}) const;
  // Of a counter or gauge, over all label values.
  double Sum(const std::string& name) const;
  // Somebody asked for it, and it wasn't removed.
  bool Has(const std::string& name, const Labels& labels = {}) const;
  // Of a histogram, in order.
  std::vector<double> Observations(const std::string& name, const Labels& labels = {}) const;
  std::vector<std::string> Names() const;

 private:
  class Metric;
  struct Key {
    std::string name;
    Labels labels;  // sorted
    bool operator<(const Key& other) const {
      return std::tie(name, labels) < std::tie(other.name, other.labels);
    }
  };
  static Key MakeKey(const std::string& name, Labels labels);
  Metric* Get(const std::string& name, const Labels& labels);

  mutable absl::Mutex mutex_;
  std::map<Key, std::unique_ptr<Metric>> metrics_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace dtrpo::base

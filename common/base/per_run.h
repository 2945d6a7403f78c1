// Thread-safe.
//
// Metrics of one job: structs of metrics whose series have the label `run`, the job's id (`job` is
// a label of Prometheus' own). A process that lives for years sees many runs and keeps few series:
// those of the runs that somebody works for, and of the kMaxEnded that ended last.
//
//   PerRun<TableMetrics> of_run(registry);
//   std::shared_ptr<const TableMetrics> metrics = of_run.Of("add-1");   // while add-1 is open
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/metrics.h"

namespace dtrpo::base {

// Gives every series the label `run`, and removes them all in the end. Not thread-safe.
class RunRegistry : public MetricsRegistry {
 public:
  RunRegistry(MetricsRegistry* registry, std::string run)
      : registry_(registry), run_(std::move(run)) {}
  ~RunRegistry() override;

  Counter* GetCounter(const std::string& name, const std::string& help,
                      const Labels& labels = {}) override;
  Gauge* GetGauge(const std::string& name, const std::string& help,
                  const Labels& labels = {}) override;
  Histogram* GetHistogram(const std::string& name, const std::string& help,
                          const std::vector<double>& buckets, const Labels& labels = {}) override;
  void RemoveSeries(const std::string& name, const Labels& labels) override;

 private:
  Labels OfRun(Labels labels) const;
  const Labels& Keep(const std::string& name, const Labels& labels);

  MetricsRegistry* const registry_;
  const std::string run_;
  std::vector<std::pair<std::string, Labels>> series_;
};

// `T` is made of a MetricsRegistry*, as every struct of metrics is.
template <typename T>
class PerRun {
 public:
  static constexpr size_t kMaxEnded = 8;

  explicit PerRun(MetricsRegistry* registry) : registry_(registry) {}

  // The run lasts until the last of what this returned is gone. REQUIRES: the object outlives them.
  std::shared_ptr<const T> Of(const std::string& run) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    ended_.erase(std::remove(ended_.begin(), ended_.end(), run), ended_.end());
    std::unique_ptr<Series>& series = runs_[run];
    if (series == nullptr) series = std::make_unique<Series>(registry_, run);
    ++series->users;
    return {&series->metrics, [this, run](const T*) { Release(run); }};
  }

 private:
  struct Series {
    Series(MetricsRegistry* to, const std::string& run) : registry(to, run), metrics(&registry) {}
    RunRegistry registry;
    const T metrics;
    int users = 0;
  };

  void Release(const std::string& run) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (--runs_.at(run)->users > 0) return;
    ended_.push_back(run);
    if (ended_.size() <= kMaxEnded) return;
    runs_.erase(ended_.front());
    ended_.pop_front();
  }

  MetricsRegistry* const registry_;
  absl::Mutex mutex_;
  std::map<std::string, std::unique_ptr<Series>> runs_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> ended_ ABSL_GUARDED_BY(mutex_);  // the longest ended first
};

}  // namespace dtrpo::base

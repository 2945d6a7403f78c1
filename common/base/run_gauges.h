// Thread-safe.
//
// Gauges with a label `run` (the job's id; `job` is a label of Prometheus' own) for the runs that
// were shown last: a process that lives for years sees many runs and keeps few series.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/metrics.h"

namespace dtrpo::base {

class RunGauges {
 public:
  static constexpr size_t kMaxRuns = 8;

  // `helps`: help text by metric name. `registry` outlives the object.
  RunGauges(MetricsRegistry* registry, std::map<std::string, std::string> helps)
      : registry_(registry), helps_(std::move(helps)) {}

  // Sets a gauge of `run`, which may push out the gauges of the run that was shown first. REQUIRES:
  // a name with a help text.
  void Set(const std::string& run, const std::string& name, double value, const Labels& labels = {})
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Series {
    std::string name;
    Labels labels;
    bool operator<(const Series& other) const {
      return name != other.name ? name < other.name : labels < other.labels;
    }
  };

  MetricsRegistry* const registry_;
  const std::map<std::string, std::string> helps_;
  absl::Mutex mutex_;
  std::deque<std::string> runs_ ABSL_GUARDED_BY(mutex_);  // the oldest first
  std::map<std::string, std::map<Series, Gauge*>> gauges_ ABSL_GUARDED_BY(mutex_);  // by run
};

}  // namespace dtrpo::base

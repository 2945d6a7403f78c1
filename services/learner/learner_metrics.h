// Thread safety: metrics are thread-safe. Every series of the learner, in one place.
#pragma once

#include <map>
#include <string>

#include "common/base/metrics.h"

namespace dtrpo::learner {

struct LearnerMetrics {
  explicit LearnerMetrics(base::MetricsRegistry* registry);

  // Gauges of what a step reported (common/dtrpo/step_statistics.h): those the dashboards show.
  void SetStepValues(const std::map<std::string, double>& values) const;

  base::Counter* steps;
  base::Counter* skipped_steps;
  base::Counter* pairs;
  base::Histogram* step_seconds;        // forward, backward and update
  base::Histogram* batch_wait_seconds;  // the loop standing still for a batch
  base::Histogram* reference_seconds;   // scoring, overlapped with the step before
  base::Histogram* publish_seconds;     // image and registration
  base::Histogram* push_seconds;        // one rollout
  base::Counter* pushed_bytes;
  base::Counter* push_failures;
  base::Histogram* checkpoint_seconds;
  base::Gauge* weights_version;
  base::Gauge* step;

 private:
  std::map<std::string, base::Gauge*> by_value_name_;
};

}  // namespace dtrpo::learner

// Thread safety: metrics are thread-safe. Every series of the learner, in one place.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "common/base/metrics.h"
#include "common/base/run_gauges.h"

namespace dtrpo::learner {

struct LearnerMetrics {
  explicit LearnerMetrics(base::MetricsRegistry* registry);

  // Gauges of what a step reported (common/dtrpo/step_statistics.h): those the dashboards show.
  void SetStepValues(const std::string& run, const std::map<std::string, double>& values) const;
  void SetStep(const std::string& run, int64_t step) const;
  void SetVersion(const std::string& run, int64_t version) const;

  base::Counter* steps;
  base::Counter* skipped_steps;
  base::Counter* pairs;
  base::Counter* target_tokens;
  base::Histogram* step_seconds;  // forward, backward and update
  // Where the time of a step's round goes; the first is the loop standing still for its batch.
  base::Histogram* batch_wait_seconds;
  base::Histogram* forward_seconds;
  base::Histogram* backward_seconds;
  base::Histogram* allreduce_seconds;
  base::Histogram* optimizer_seconds;
  base::Histogram* pair_staleness_versions;  // of pairs that rollouts made
  base::Gauge* batches_ahead;                // fed and not trained on yet
  base::Histogram* reference_seconds;        // scoring, overlapped with the step before
  base::Histogram* image_seconds;            // a version: its image is made,
  base::Histogram* register_seconds;         //   registered, and pushed
  base::Histogram* push_seconds;             // one rollout
  base::Counter* pushed_bytes;
  base::Counter* push_failures;
  base::Histogram* checkpoint_seconds;
  base::Gauge* checkpoint_time;  // Unix seconds; 0: none by this process

 private:
  std::map<std::string, std::string> metric_of_value_;
  std::unique_ptr<base::RunGauges> by_run_;
};

}  // namespace dtrpo::learner

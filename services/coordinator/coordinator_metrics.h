// Thread-safe. Every metric of the coordinator, with its name and help, in one place. "The job" is
// the one at the head of the queue: one job runs at a time, so there is no label per job to grow
// without bound.
#pragma once

#include <string>

#include "common/base/metrics.h"

namespace dtrpo::coordinator {

struct CoordinatorMetrics {
  // `registry` outlives the object.
  explicit CoordinatorMetrics(base::MetricsRegistry* registry);

  base::Gauge* Jobs(const std::string& state) const;    // state: "RUNNING", ...
  base::Gauge* Workers(const std::string& role) const;  // role: rollout, reference, learner
  base::Gauge* Prompts(
      const std::string& state) const;  // of the job: leased, stored, consumed, ...
  base::Counter* Leases(const std::string& kind) const;  // kind: train, evaluate

  base::Gauge* const step;
  base::Gauge* const version;
  base::Gauge* const reward_mean;
  base::Gauge* const tokens_per_second;
  base::Gauge* const heldout_accuracy;
  base::Counter* const jobs_submitted;
  base::Counter* const workers_lost;
  base::Counter* const replay_failures;

 private:
  base::MetricsRegistry* const registry_;
};

}  // namespace dtrpo::coordinator

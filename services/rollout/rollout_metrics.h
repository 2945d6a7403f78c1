// Thread safety: metrics are thread-safe. Every series of the rollout service, in one place.
#pragma once

#include "common/base/metrics.h"

namespace dtrpo::rollout {

struct RolloutMetrics {
  explicit RolloutMetrics(base::MetricsRegistry* registry);

  base::Counter* generated_tokens;
  base::Counter* samples;
  base::Counter* sequence_forwards;  // NFE
  base::Counter* forwards;
  base::Counter* pairs;
  base::Counter* prompts_stored;
  base::Counter* prompts_no_pair;
  base::Counter* prompts_evaluated;
  base::Counter* prompts_failed;
  base::Counter* prompts_returned;
  base::Histogram* sample_seconds;       // one round of leased prompts
  base::Histogram* insert_wait_seconds;  // until replay confirmed one prompt
  base::Histogram* weights_receive_seconds;
  base::Counter* weights_received_bytes;
  base::Counter* weights_refused;
  base::Gauge* weights_version;
  base::Gauge* weights_lag_versions;
  base::Counter* generate_answered;
  base::Counter* generate_refused;    // before the first block
  base::Counter* generate_cancelled;  // by the caller, its deadline, or a drain
  base::Counter* generate_failed;
  base::Counter* generate_tokens;
  base::Histogram* generate_seconds;  // those that were begun
  base::Gauge* generate_running;
};

}  // namespace dtrpo::rollout

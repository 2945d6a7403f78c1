// Thread safety: metrics are thread-safe. Every series of the reference service, in one place.
#pragma once

#include "common/base/metrics.h"

namespace dtrpo::reference {

struct ReferenceMetrics {
  explicit ReferenceMetrics(base::MetricsRegistry* registry);

  base::Counter* scored_trajectories;
  base::Counter* cache_hits;
  base::Counter* forwards;
  base::Counter* shared_forwards;  // that answered several calls
  base::Gauge* waiting;            // trajectories, for the next forward
  base::Histogram* forward_seconds;
  base::Histogram* batch_fill_ratio;  // trajectories of a forward / batch_trajectories
  base::Gauge* cache_bytes;
  base::Gauge* cache_limit_bytes;
};

}  // namespace dtrpo::reference

#include "services/reference/reference_metrics.h"

namespace dtrpo::reference {

ReferenceMetrics::ReferenceMetrics(base::MetricsRegistry* registry)
    : scored_trajectories(
          registry->GetCounter("dtrpo_reference_scored_trajectories_total",
                               "Trajectories answered, from the cache or by a forward.")),
      cache_hits(registry->GetCounter("dtrpo_reference_cache_hits_total",
                                      "Trajectories answered from the cache.")),
      forwards(registry->GetCounter("dtrpo_reference_forwards_total",
                                    "Forwards of the reference model.")),
      shared_forwards(registry->GetCounter("dtrpo_reference_shared_forwards_total",
                                           "Forwards that answered several calls at once.")),
      waiting(registry->GetGauge("dtrpo_reference_waiting_trajectories",
                                 "Trajectories that wait for the next forward.")),
      forward_seconds(registry->GetHistogram("dtrpo_reference_forward_seconds",
                                             "Time of one forward, head included.",
                                             base::LatencyBuckets())),
      batch_fill_ratio(
          registry->GetHistogram("dtrpo_reference_batch_fill_ratio",
                                 "Trajectories of a forward as a share of the batch limit.",
                                 {0.1, 0.25, 0.5, 0.75, 0.9, 1.0})),
      cache_bytes(
          registry->GetGauge("dtrpo_reference_cache_bytes", "Bytes held by the score cache.")),
      cache_limit_bytes(registry->GetGauge("dtrpo_reference_cache_limit_bytes",
                                           "Bytes that the score cache may hold.")) {}

}  // namespace dtrpo::reference

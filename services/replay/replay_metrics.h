// Thread safety: as the registry's metrics. Every metric of the replay service, in one place.
#pragma once

#include "common/base/metrics.h"
#include "common/base/per_run.h"

namespace dtrpo::replay {

// Of one job, with the label `run`.
struct TableMetrics {
  explicit TableMetrics(base::MetricsRegistry* registry)
      : stored_pairs(registry->GetGauge("dtrpo_replay_stored_pairs", "Pairs in the store")),
        stored_bytes(registry->GetGauge("dtrpo_replay_stored_bytes", "Bytes of stored pairs")),
        available_pairs(registry->GetGauge("dtrpo_replay_available_pairs",
                                           "Stored pairs that fit the next batch")),
        assigned_pairs(registry->GetGauge("dtrpo_replay_assigned_pairs",
                                          "Stored pairs in unacknowledged batches")),
        inserted_pairs(registry->GetCounter("dtrpo_replay_inserted_pairs_total", "Pairs stored")),
        inserted_prompts(registry->GetCounter("dtrpo_replay_inserted_prompts_total",
                                              "Prompts stored with their pairs")),
        no_pair_prompts(registry->GetCounter("dtrpo_replay_no_pair_prompts_total",
                                             "Prompts that made no pair")),
        duplicate_inserts(registry->GetCounter("dtrpo_replay_duplicate_inserts_total",
                                               "Inserts that were stored before")),
        refused_inserts(registry->GetCounter("dtrpo_replay_refused_inserts_total",
                                             "Inserts put off because the store is full")),
        evicted_pairs(registry->GetCounter("dtrpo_replay_evicted_pairs_total",
                                           "Pairs that grew stale before their first use")),
        consumed_pairs(registry->GetCounter("dtrpo_replay_consumed_pairs_total",
                                            "Pairs deleted after their batches were acknowledged")),
        formed_batches(registry->GetCounter("dtrpo_replay_formed_batches_total", "Batches formed")),
        batch_wait_seconds(registry->GetHistogram("dtrpo_replay_batch_wait_seconds",
                                                  "Time that a batch request waited for pairs",
                                                  base::LatencyBuckets())),
        pair_lag_versions(registry->GetHistogram("dtrpo_replay_pair_lag_versions",
                                                 "Age of the pairs of a batch when it was formed",
                                                 {0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32})),
        sampled_pairs(registry->GetCounter("dtrpo_replay_sampled_pairs_total",
                                           "Uses of pairs: how many places in batches they took")) {
  }

  base::Gauge* stored_pairs;
  base::Gauge* stored_bytes;
  base::Gauge* available_pairs;
  base::Gauge* assigned_pairs;
  base::Counter* inserted_pairs;
  base::Counter* inserted_prompts;
  base::Counter* no_pair_prompts;
  base::Counter* duplicate_inserts;
  base::Counter* refused_inserts;
  base::Counter* evicted_pairs;
  base::Counter* consumed_pairs;
  base::Counter* formed_batches;
  base::Histogram* batch_wait_seconds;
  base::Histogram* pair_lag_versions;
  base::Counter* sampled_pairs;
};

// Of the whole store.
struct ReplayMetrics {
  explicit ReplayMetrics(base::MetricsRegistry* registry)
      : of_run(registry),
        confirm_seconds(registry->GetHistogram(
            "dtrpo_replay_log_confirm_seconds",
            "Time until a step was as durable as its job asks, the shared fsync included",
            base::LatencyBuckets())),
        log_sync_seconds(registry->GetHistogram("dtrpo_replay_log_sync_seconds",
                                                "Time of one fsync (commit) of the log",
                                                base::LatencyBuckets())),
        log_sync_steps(registry->GetHistogram(
            "dtrpo_replay_log_sync_steps",
            "Steps (a prompt's insert, a batch formed) that one fsync made durable",
            base::ExponentialBuckets(1, 2, 12))),
        recovery_seconds(registry->GetGauge("dtrpo_replay_recovery_seconds",
                                            "Time the log took when the process started")),
        disk_bytes(registry->GetGauge("dtrpo_replay_disk_bytes",
                                      "Bytes of the store's files; -1: the engine can't tell")),
        free_disk_bytes(registry->GetGauge(
            "dtrpo_replay_free_disk_bytes",
            "Bytes that the store's disk still has; -1: the engine can't tell")) {
    TableMetrics without_run(registry);  // zeros from the start: autoscalers ask before any job
  }

  base::PerRun<TableMetrics> of_run;
  base::Histogram* confirm_seconds;
  base::Histogram* log_sync_seconds;
  base::Histogram* log_sync_steps;
  base::Gauge* recovery_seconds;
  base::Gauge* disk_bytes;
  base::Gauge* free_disk_bytes;
};

}  // namespace dtrpo::replay

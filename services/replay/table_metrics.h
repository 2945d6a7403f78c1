// Thread safety: as the metrics. How one table shows in its gauges and counters.
// Of a job of several shards the one that sequences counts all items, and the others none, so that
// sums over services are right.
#pragma once

#include "services/replay/replay_metrics.h"
#include "services/replay/replay_table.h"

namespace dtrpo::replay {

struct Shown {
  explicit Shown(const ReplayTable& table) {
    if (!table.options().sequences()) return;
    counters = table.counters();
    items = table.items();
    bytes = table.bytes();
    available = table.available_items();
    assigned = table.assigned_items();
  }
  Shown() = default;

  TableCounters counters;
  int64_t items = 0;
  int64_t bytes = 0;
  int64_t available = 0;
  int64_t assigned = 0;
};

inline void MoveGauges(const Shown& before, const Shown& after, const TableMetrics& metrics) {
  auto add = [](base::Gauge* gauge, int64_t change) { gauge->Add(static_cast<double>(change)); };
  add(metrics.stored_pairs, after.items - before.items);
  add(metrics.stored_bytes, after.bytes - before.bytes);
  add(metrics.available_pairs, after.available - before.available);
  add(metrics.assigned_pairs, after.assigned - before.assigned);
}

inline void RaiseCounters(const TableCounters& before, const TableCounters& after,
                          const TableMetrics& metrics) {
  auto add = [](base::Counter* counter, int64_t change) {
    counter->Increment(static_cast<double>(change));
  };
  add(metrics.inserted_pairs, after.inserted_items - before.inserted_items);
  add(metrics.inserted_prompts, after.inserted_prompts - before.inserted_prompts);
  add(metrics.no_pair_prompts, after.no_pair_prompts - before.no_pair_prompts);
  add(metrics.evicted_pairs, after.evicted_items - before.evicted_items);
  add(metrics.consumed_pairs, after.consumed_items - before.consumed_items);
}

}  // namespace dtrpo::replay

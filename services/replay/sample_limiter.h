// How much may be drawn from what was inserted. Thread safety: pure functions of numbers.
//
//   min size   a batch is formed only while at least so many items fit it
//   ratio      draws <= floor(samples_per_insert * inserted): item k may be in
//                floor(k * ratio) - floor((k - 1) * ratio)
//              batches, so a ratio of 1.5 lets every other item be used twice
//   queue      ratio 1 and FIFO: each item is drawn once, and a full table makes writers wait
//
// Why the ratio is shared out among the items instead of holding back draws by a common counter:
// with a counter, a table full of items that were drawn less often than the others could neither
// give a batch nor take an insert, for ever. Here every item that is there may be drawn, and leaves
// when its share is used up, so the bound holds and nothing stands still. Items that leave unused
// (they grew stale) take their share with them.
#pragma once

#include <cstdint>

#include "services/replay/log_record.h"
#include "services/replay/table_options.h"

namespace dtrpo::replay {

class SampleLimiter {
 public:
  // REQUIRES: options that Complete() returned.
  explicit SampleLimiter(const TableOptions& options);

  // Batches that item k, counted from 1, may be in: at least 1, at most max_uses.
  int32_t UsesOf(ItemId k) const;

  // Items that must fit batch n for it to be formed whole. Near the end of the job no more than its
  // remaining batches take: the table doesn't accept more. Of imported items a batch's own: they
  // are let in for the next few batches only.
  int64_t WantedItems(int64_t n) const;

 private:
  int64_t min_items_;
  int64_t pairs_per_batch_;
  int64_t external_pairs_per_batch_;
  int64_t total_steps_;
  double samples_per_insert_;  // 0: off
  int32_t max_uses_;
};

}  // namespace dtrpo::replay

// Thread safety: plain data and a pure function.
// What a job's table is opened with; the wire form is ReplayJobOptions in replay.proto.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"

namespace dtrpo::replay {

// The numbers are in logs: append only.
enum class TableDurability { kMemory = 0, kLog = 1, kSync = 2 };
enum class SelectorKind { kFifo = 0, kUniform = 1, kPrioritised = 2, kNewest = 3 };
enum class PrioritySource { kRewardGap = 0, kLearner = 1 };

struct TableOptions {
  int32_t pairs_per_batch = 0;  // B, all ranks together
  int32_t publish_every = 0;    // learner steps per weights version
  int32_t max_staleness = 0;    // S, in versions
  int32_t max_uses = 0;         // batches an item may be in; 0: 1
  int64_t max_items = 0;        // 0: what the job needs (common/job/job_limits.h)
  int64_t max_bytes = 0;        // of stored bodies; 0: job::ReplaySpec's default
  uint64_t seed = 0;            // of selectors that draw; FIFO doesn't
  int32_t max_pairs_per_prompt = 0;
  int64_t total_steps = 0;       // batches the job will ask for
  int32_t checkpoint_every = 0;  // steps between acknowledgements; 0: 1
  int32_t prefetch_batches = 0;  // may be formed beyond them; 0: job::kPrefetchBatches
  int64_t first_batch = 0;       // number of the first batch to be formed; 0: 1

  TableDurability durability = TableDurability::kSync;  // that every answer waits for
  SelectorKind selector = SelectorKind::kFifo;
  PrioritySource priority = PrioritySource::kRewardGap;
  double priority_exponent = 0;   // 0: all priorities count the same
  int64_t min_items = 0;          // that fit, before a batch is formed; 0: a batch's own
  double samples_per_insert = 0;  // batches an item is in, on average at most; 0: max_uses
  // Of a batch, imported items: 0 for a job without any, pairs_per_batch for one of nothing else.
  int32_t external_pairs_per_batch = 0;
  int32_t vocabulary_size = 0;  // token ids are below it; 0: not known

  // Several services keep the job together. Shard 0 sequences; see replay.proto.
  int32_t shards = 0;       // 0: 1
  int32_t shard = 0;        // this one
  int64_t incarnation = 0;  // of several: rises when the job begins anew

  bool sequences() const { return shard == 0; }

  bool operator==(const TableOptions&) const = default;
};

// Fills what is 0, then checks. INVALID_ARGUMENT names the field and the limit it breaks; limits
// that can't hold the job are refused here, because they would stop it half-way.
absl::StatusOr<TableOptions> Complete(TableOptions options);

}  // namespace dtrpo::replay

// Thread safety: pure functions. The sums behind admission and refusal (ARCHITECTURE.md, "No
// deadlock").
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "common/job/job_spec.h"

namespace dtrpo::job {

// V(n): the weights version that step n (from 1) is computed with.
int64_t PolicyVersion(int64_t step, int32_t publish_every);

// An item of version `item_version` fits batch n iff V(n) - item_version <= max_staleness. External
// items (-1) always fit.
bool Fits(int64_t item_version, int64_t step, int32_t publish_every, int32_t max_staleness);

// Batches that may be formed and unacknowledged at once: checkpoint_every + prefetch.
inline constexpr int32_t kPrefetchBatches = 2;

// Items the store must be able to hold for the job to make progress:
//   B * (checkpoint_every + prefetch) + B * publish_every * (S + 1) + one prompt's pairs.
int64_t RequiredReplayItems(const JobSpec& spec);

// Bytes those items may take at most, by the job's token limits.
int64_t RequiredReplayBytes(const JobSpec& spec);

// Pairs that may be in flight + stored + consumed while version v is the newest: B * publish_every
// * (v + S + 1).
int64_t AdmittedPairs(const JobSpec& spec, int64_t newest_version);

// Refuses max_items that are set and too small, and max_bytes that are too small. Part of Validate.
absl::Status CheckReplayLimits(const JobSpec& spec);

}  // namespace dtrpo::job

// Thread safety: pure functions. The sums behind admission and refusal (ARCHITECTURE.md, "No
// deadlock").
#pragma once

#include <cstdint>
#include <limits>

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

// Of a batch's B pairs, those of data.pairs: none without it, all without data.prompts, else the
// whole number next to B * pairs_share. Each batch has as many, until one kind has ended.
int64_t ExternalPairsPerBatch(const JobSpec& spec);

// Imported pairs that wait for a batch: no more than so many batches take are let in, so that they
// leave room for the pairs of prompts.
inline constexpr int32_t kExternalBatchesAhead = 4;

// In replay's keys imported pairs count as prompts from here on, those of the job's prompts below.
inline constexpr int64_t kFirstExternalPrompt = int64_t{1} << 40;

// Items the store must be able to hold for the job to make progress:
//   B * (checkpoint_every + prefetch) + B * publish_every * (S + 1) + one prompt's pairs
//   + external pairs of a batch * kExternalBatchesAhead.
int64_t RequiredReplayItems(const JobSpec& spec);

// Bytes those items may take at most, by the job's token limits.
int64_t RequiredReplayBytes(const JobSpec& spec);

// Pairs of prompts that may be in flight + stored + consumed while version v is the newest: those
// of publish_every * (v + S + 1) batches, and no more than all steps take. `imported_pairs`: all
// there will ever be, once data.pairs has ended; pairs of prompts then fill the batches.
int64_t AdmittedPairs(const JobSpec& spec, int64_t newest_version,
                      int64_t imported_pairs = std::numeric_limits<int64_t>::max());

// Refuses max_items that are set and too small, max_bytes that are too small, and what could stop
// the job or never give a batch. Part of Validate.
absl::Status CheckReplayLimits(const JobSpec& spec);

// A prompt's pairs are inserted in one message, and a rank gets its part of a batch in one. Refuses
// those that may be larger.
absl::Status CheckMessageSizes(const JobSpec& spec, int64_t max_message_bytes);

}  // namespace dtrpo::job

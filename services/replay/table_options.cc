#include "services/replay/table_options.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/status_macros.h"
#include "common/job/job_limits.h"

namespace dtrpo::replay {
namespace {

// Far beyond any real job, and small enough that no sum of limits overflows.
constexpr int64_t kMost = int64_t{1} << 24;
constexpr int64_t kMostSteps = int64_t{1} << 40;
constexpr int64_t kMostStored = int64_t{1} << 50;  // items or bytes
constexpr int32_t kMostShards = 1024;

absl::Status CheckRange(absl::string_view field, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("options.", field, ": ", value, " is outside [", least, ", ", most, "]"));
}

// Pairs that are sure to be there before batch n is formed. Of B pairs of prompts a batch, the
// coordinator admits B * publish_every * (v + S + 1), and the batches before n, at most
// publish_every * (v + 1) - 1 of them, have taken theirs; imported ones come up to a batch's own.
int64_t AdmittedAtLeast(const TableOptions& options) {
  const int64_t external = options.external_pairs_per_batch;
  return (options.pairs_per_batch - external) *
             (int64_t{options.publish_every} * options.max_staleness + 1) +
         external;
}

template <typename Enum>
absl::Status CheckChoice(absl::string_view field, Enum value, Enum last) {
  return CheckRange(field, static_cast<int64_t>(value), 0, static_cast<int64_t>(last));
}

absl::Status CheckSampling(const TableOptions& options) {
  DTRPO_RETURN_IF_ERROR(CheckChoice("durability", options.durability, TableDurability::kSync));
  DTRPO_RETURN_IF_ERROR(CheckChoice("selector", options.selector, SelectorKind::kNewest));
  DTRPO_RETURN_IF_ERROR(CheckChoice("priority", options.priority, PrioritySource::kLearner));
  if (!(options.priority_exponent >= 0 && options.priority_exponent <= 100)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "options.priority_exponent: ", options.priority_exponent, " is outside [0, 100]"));
  }
  if (options.min_items > AdmittedAtLeast(options)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "options.min_items: ", options.min_items, " would stop the job; no more than ",
        AdmittedAtLeast(options),
        " items are sure to be there at once (pairs of prompts in a batch * (publish_every * "
        "max_staleness + 1), and the imported ones of a batch)"));
  }
  const double ratio = options.samples_per_insert;
  if (ratio == 0) return absl::OkStatus();
  if (!(ratio >= 1 && ratio <= options.max_uses)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "options.samples_per_insert: ", ratio, " is outside [1, max_uses = ", options.max_uses,
        "]; below 1, confirmed items would be thrown away"));
  }
  return absl::OkStatus();
}

// The job as far as the sums of job_limits.h look at it.
job::JobSpec LimitsOf(const TableOptions& options) {
  job::JobSpec spec;
  spec.training.pairs_per_batch = options.pairs_per_batch;
  spec.training.publish_every = options.publish_every;
  spec.training.max_staleness = options.max_staleness;
  spec.training.checkpoint_every = options.checkpoint_every;
  spec.reward.max_pairs_per_prompt = options.max_pairs_per_prompt;
  if (options.external_pairs_per_batch > 0) spec.data.pairs = "imported";
  if (options.external_pairs_per_batch < options.pairs_per_batch) spec.data.prompts = "prompts";
  spec.data.pairs_share =
      static_cast<double>(options.external_pairs_per_batch) / options.pairs_per_batch;
  return spec;
}

}  // namespace

absl::StatusOr<TableOptions> Complete(TableOptions options) {
  if (options.max_uses == 0) options.max_uses = 1;
  if (options.max_bytes == 0) options.max_bytes = job::ReplaySpec().max_bytes;
  if (options.checkpoint_every == 0) options.checkpoint_every = 1;
  if (options.prefetch_batches == 0) options.prefetch_batches = job::kPrefetchBatches;
  if (options.first_batch == 0) options.first_batch = 1;
  if (options.shards == 0) options.shards = 1;

  DTRPO_RETURN_IF_ERROR(CheckRange("pairs_per_batch", options.pairs_per_batch, 1, kMost));
  DTRPO_RETURN_IF_ERROR(CheckRange("external_pairs_per_batch", options.external_pairs_per_batch, 0,
                                   options.pairs_per_batch));
  DTRPO_RETURN_IF_ERROR(CheckRange("publish_every", options.publish_every, 1, kMost));
  DTRPO_RETURN_IF_ERROR(CheckRange("max_staleness", options.max_staleness, 0, kMost));
  DTRPO_RETURN_IF_ERROR(CheckRange("max_uses", options.max_uses, 1, kMost));
  DTRPO_RETURN_IF_ERROR(CheckRange("max_pairs_per_prompt", options.max_pairs_per_prompt, 1, kMost));
  DTRPO_RETURN_IF_ERROR(CheckRange("total_steps", options.total_steps, 1, kMostSteps));
  DTRPO_RETURN_IF_ERROR(CheckRange("checkpoint_every", options.checkpoint_every, 1, kMost));
  DTRPO_RETURN_IF_ERROR(CheckRange("prefetch_batches", options.prefetch_batches, 1, kMost));
  // One beyond the last: the checkpoint that a job goes on from holds them all.
  DTRPO_RETURN_IF_ERROR(CheckRange("first_batch", options.first_batch, 1, options.total_steps + 1));
  DTRPO_RETURN_IF_ERROR(CheckRange("max_bytes", options.max_bytes, 1, kMostStored));
  DTRPO_RETURN_IF_ERROR(CheckRange("min_items", options.min_items, 0, kMostStored));
  DTRPO_RETURN_IF_ERROR(CheckRange("shards", options.shards, 1, kMostShards));
  DTRPO_RETURN_IF_ERROR(CheckRange("shard", options.shard, 0, options.shards - 1));
  DTRPO_RETURN_IF_ERROR(CheckRange("vocabulary_size", options.vocabulary_size, 0, kMost * 16));
  DTRPO_RETURN_IF_ERROR(CheckSampling(options));
  // Two factors of 2^24 each keep the sum below 2^49.
  DTRPO_RETURN_IF_ERROR(CheckRange("publish_every * (max_staleness + 1)",
                                   int64_t{options.publish_every} * (options.max_staleness + 1), 1,
                                   kMost));
  const int64_t required = job::RequiredReplayItems(LimitsOf(options));
  if (options.max_items == 0) options.max_items = required;
  DTRPO_RETURN_IF_ERROR(CheckRange("max_items", options.max_items, required, kMostStored));
  return options;
}

}  // namespace dtrpo::replay

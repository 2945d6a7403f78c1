#include "common/job/job_limits.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace dtrpo::job {
namespace {

// What a trajectory needs beside its tokens: ids, words, the fixed fields, the map entries of a
// store.
constexpr int64_t kTrajectoryOverheadBytes = 2048;
constexpr int64_t kBytesPerPromptToken = 4;
constexpr int64_t kBytesPerResponseToken =
    24;                                    // id, step, log-probability, and its share of the text
constexpr int64_t kLastBlockTokens = 128;  // the response runs to the end of its last block

// The most that a pair takes, in the store and on the wire.
int64_t PairBytes(const JobSpec& spec) {
  const int64_t response = int64_t{spec.sampling.max_new_tokens} + kLastBlockTokens;
  return 2 * (kTrajectoryOverheadBytes + kBytesPerPromptToken * spec.data.max_prompt_tokens +
              kBytesPerResponseToken * response);
}

}  // namespace

int64_t PolicyVersion(int64_t step, int32_t publish_every) {
  DTRPO_CHECK(step >= 1 && publish_every >= 1) << "step " << step << ", every " << publish_every;
  return (step - 1) / publish_every;
}

bool Fits(int64_t item_version, int64_t step, int32_t publish_every, int32_t max_staleness) {
  if (item_version < 0) return true;  // external
  return PolicyVersion(step, publish_every) - item_version <= max_staleness;
}

int64_t ExternalPairsPerBatch(const JobSpec& spec) {
  const int64_t batch = spec.training.pairs_per_batch;
  if (spec.data.pairs.empty()) return 0;
  if (spec.data.prompts.empty()) return batch;
  return std::llround(static_cast<double>(batch) * spec.data.pairs_share);
}

int64_t RequiredReplayItems(const JobSpec& spec) {
  const TrainingSpec& t = spec.training;
  const int64_t unacknowledged = int64_t{t.checkpoint_every} + kPrefetchBatches;
  const int64_t eligible = int64_t{t.publish_every} * (int64_t{t.max_staleness} + 1);
  return t.pairs_per_batch * (unacknowledged + eligible) + spec.reward.max_pairs_per_prompt +
         kExternalBatchesAhead * ExternalPairsPerBatch(spec);
}

int64_t RequiredReplayBytes(const JobSpec& spec) {
  const int64_t pair = PairBytes(spec);
  const int64_t items = RequiredReplayItems(spec);
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  return items > kMost / pair ? kMost : items * pair;
}

int64_t AdmittedPairs(const JobSpec& spec, int64_t newest_version, int64_t imported_pairs) {
  const TrainingSpec& t = spec.training;
  const int64_t batches =
      std::min<int64_t>(t.steps, t.publish_every * (newest_version + t.max_staleness + 1));
  return batches * t.pairs_per_batch -
         std::min(batches * ExternalPairsPerBatch(spec), imported_pairs);
}

absl::Status CheckMessageSizes(const JobSpec& spec, int64_t max_message_bytes) {
  if (spec.kind == JobKind::kEval) return absl::OkStatus();
  const TrainingSpec& t = spec.training;
  auto check = [&](absl::string_view field, int64_t pairs, absl::string_view what) -> absl::Status {
    if (pairs <= max_message_bytes / PairBytes(spec)) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        field, ": ", what, " are ", pairs, " pairs of up to ", PairBytes(spec),
        " bytes (data.max_prompt_tokens + sampling.max_new_tokens), too many for a message of ",
        max_message_bytes, " (server.max_message_bytes)"));
  };
  DTRPO_RETURN_IF_ERROR(check("reward.max_pairs_per_prompt", spec.reward.max_pairs_per_prompt,
                              "what a prompt may give"));
  const int32_t ranks = t.min_ranks > 0 ? t.min_ranks : t.ranks;
  return check("training.pairs_per_batch", (t.pairs_per_batch + ranks - 1) / ranks,
               "a rank's part of a batch");
}

}  // namespace dtrpo::job

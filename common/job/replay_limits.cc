// What a job asks of sampling, rewards and replay, as far as it could never give a batch.
#include <algorithm>
#include <cmath>
#include <limits>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/status_macros.h"
#include "common/job/job_limits.h"
#include "common/job/reward_terms.h"
#include "common/trajectory/unmask_spec.h"

namespace dtrpo::job {
namespace {

// Steps whose items a replay store tells apart (services/replay/table_options.cc).
constexpr int64_t kMostEligibleSteps = int64_t{1} << 24;

// As the replay store checks them when the job is opened (services/replay/table_options.cc).
absl::Status CheckReplaySampling(const JobSpec& spec) {
  const TrainingSpec& t = spec.training;
  const int64_t external = ExternalPairsPerBatch(spec);
  const int64_t sure =
      (t.pairs_per_batch - external) * (int64_t{t.publish_every} * t.max_staleness + 1) + external;
  if (spec.replay.min_items > sure) {
    return absl::InvalidArgumentError(absl::StrCat("replay.min_items: ", spec.replay.min_items,
                                                   " would stop the job; no more than ", sure,
                                                   " pairs are sure to be there at once"));
  }
  const double ratio = spec.replay.samples_per_insert;
  if (ratio != 0 && !(ratio >= 1 && ratio <= t.max_uses)) {
    return absl::InvalidArgumentError(
        absl::StrCat("replay.samples_per_insert: ", ratio,
                     " is outside [1, training.max_uses = ", t.max_uses, "]; 0 switches it off"));
  }
  if (spec.replay.selector == "prioritised" && spec.replay.priority == "learner" &&
      (t.max_uses == 1 || ratio == 1)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "replay.priority: the learner says how much it wants to see a pair again, and "
        "with ",
        t.max_uses == 1 ? "training.max_uses" : "replay.samples_per_insert", " = 1 it never does"));
  }
  const int64_t eligible = int64_t{t.publish_every} * (int64_t{t.max_staleness} + 1);
  if (eligible > kMostEligibleSteps) {
    return absl::InvalidArgumentError(
        absl::StrCat("training.max_staleness: publish_every * (max_staleness + 1) = ", eligible,
                     " is more than ", kMostEligibleSteps, " steps"));
  }
  return absl::OkStatus();
}

// The order of unmasking is drawn, too, so that answers may differ by it alone.
bool DrawsOrder(absl::string_view unmask) {
  const auto spec = trajectory::ParseUnmaskSpec(unmask);
  if (!spec.ok()) return false;
  const auto* const dream = std::get_if<trajectory::DreamSpec>(&*spec);
  return std::holds_alternative<trajectory::RandomSpec>(*spec) ||
         (dream != nullptr &&
          (dream->order == trajectory::DreamOrder::kOrigin || dream->alg_temp > 0));
}

// Can any prompt give a pair at all? Two answers must differ, and their rewards by enough.
absl::Status CheckPairsCanCome(const JobSpec& spec) {
  if (spec.data.prompts.empty()) return absl::OkStatus();
  if (spec.sampling.top_k == 1 && !DrawsOrder(spec.sampling.unmask)) {
    return absl::InvalidArgumentError(
        absl::StrCat("sampling.top_k: 1 makes the ", spec.sampling.samples_per_prompt,
                     " samples of a prompt the same, so no pair can come of them"));
  }
  double widest = 0;
  for (const reward::Term& term : RewardTerms(spec.reward)) {
    // A rule gives from 0 to 1; what a service gives nobody knows.
    widest += !reward::ServiceReward(term.rule).empty() && term.weight != 0
                  ? std::numeric_limits<double>::infinity()
                  : std::abs(term.weight);
  }
  if (spec.reward.min_gap < widest) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("reward.min_gap: ", spec.reward.min_gap,
                                                 "; the rewards of two answers differ by ", widest,
                                                 " at most, and a pair's must differ by more"));
}

}  // namespace

absl::Status CheckReplayLimits(const JobSpec& spec) {
  if (spec.kind == JobKind::kEval) return absl::OkStatus();  // no replay
  DTRPO_RETURN_IF_ERROR(CheckReplaySampling(spec));
  DTRPO_RETURN_IF_ERROR(CheckPairsCanCome(spec));
  const int64_t external = ExternalPairsPerBatch(spec);
  const bool mixed = !spec.data.pairs.empty() && !spec.data.prompts.empty();
  if (mixed && (external == 0 || external == spec.training.pairs_per_batch)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "data.pairs_share: ", spec.data.pairs_share, " of training.pairs_per_batch ",
        spec.training.pairs_per_batch, " leaves no pair for one of data.prompts and data.pairs"));
  }
  const int64_t items = RequiredReplayItems(spec);
  if (spec.replay.max_items > 0 && spec.replay.max_items < items) {
    return absl::InvalidArgumentError(
        absl::StrCat("replay.max_items: ", spec.replay.max_items, " is too few; this job needs ",
                     items, " (pairs_per_batch * (checkpoint_every + ", kPrefetchBatches,
                     " + publish_every * (max_staleness + 1)) + max_pairs_per_prompt",
                     external > 0 ? absl::StrCat(" + ", kExternalBatchesAhead, " * ", external, ")")
                                  : std::string(")")));
  }
  const int64_t bytes = RequiredReplayBytes(spec);
  if (spec.replay.max_bytes < bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "replay.max_bytes: ", spec.replay.max_bytes, " is too few; ", items,
        " pairs of up to data.max_prompt_tokens + sampling.max_new_tokens may take ", bytes));
  }
  return absl::OkStatus();
}

}  // namespace dtrpo::job

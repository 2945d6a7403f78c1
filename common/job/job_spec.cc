#include "common/job/job_spec.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "common/base/status_macros.h"
#include "common/job/job_limits.h"
#include "common/job/reward_terms.h"
#include "common/reward/pair_builder.h"
#include "common/trajectory/unmask_spec.h"

namespace dtrpo::job {
namespace {

constexpr size_t kMaxNameBytes = 64;
constexpr size_t kMaxPathBytes = 4096;
constexpr int64_t kMaxTokens = int64_t{1} << 20;
constexpr int64_t kMaxCount = int64_t{1} << 20;
constexpr int64_t kMaxSteps = int64_t{1} << 40;
constexpr int64_t kMaxInt32 = 2147483647;

template <typename... Words>
absl::Status Refuse(absl::string_view field, const Words&... words) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", words...));
}

absl::Status InRange(absl::string_view field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return Refuse(field, value, " is outside [", low, ", ", high, "]");
}

absl::Status InRange(absl::string_view field, double value, double low, double high) {
  if (value >= low && value <= high) return absl::OkStatus();  // NaN fails both
  return Refuse(field, value, " is outside [", low, ", ", high, "]");
}

absl::Status Positive(absl::string_view field, double value, double high) {
  if (value > 0 && value <= high) return absl::OkStatus();
  return Refuse(field, value, " is outside (0, ", high, "]");
}

absl::Status Path(absl::string_view field, const std::string& value, bool required) {
  if (required && value.empty()) return Refuse(field, "is required");
  if (value.size() > kMaxPathBytes)
    return Refuse(field, "is longer than ", kMaxPathBytes, " bytes");
  if (value.find('\0') != std::string::npos) return Refuse(field, "contains a zero byte");
  return absl::OkStatus();
}

absl::Status OneOf(absl::string_view field, const std::string& value,
                   std::initializer_list<absl::string_view> words) {
  for (absl::string_view word : words) {
    if (value == word) return absl::OkStatus();
  }
  return Refuse(field, "'", value, "' is none of '", absl::StrJoin(words, "', '"), "'");
}

absl::Status UnmaskRule(absl::string_view field, absl::string_view value) {
  const auto spec = trajectory::ParseUnmaskSpec(value);
  return spec.ok() ? absl::OkStatus() : Refuse(field, spec.status().message());
}

absl::Status CheckName(const std::string& name) {
  if (name.empty()) return Refuse("name", "is required");
  if (name.size() > kMaxNameBytes)
    return Refuse("name", "is longer than ", kMaxNameBytes, " bytes");
  for (const char c : name) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '-') {
      return Refuse("name", "'", name, "' has characters other than letters, digits and '-'");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckModel(const ModelSpec& model) {
  DTRPO_RETURN_IF_ERROR(Path("model.path", model.path, model.from_job.empty()));
  DTRPO_RETURN_IF_ERROR(InRange("model.mask_token_id", int64_t{model.mask_token_id}, 0, kMaxInt32));
  DTRPO_RETURN_IF_ERROR(InRange("model.block_size", int64_t{model.block_size}, 0, kMaxTokens));
  DTRPO_RETURN_IF_ERROR(OneOf("model.dtype", model.dtype, {"auto", "float32", "bfloat16"}));
  for (const int32_t id : model.stop_ids) {
    DTRPO_RETURN_IF_ERROR(InRange("model.stop_ids", int64_t{id}, 0, kMaxInt32));
  }
  return absl::OkStatus();
}

absl::Status CheckData(const DataSpec& data, JobKind kind) {
  DTRPO_RETURN_IF_ERROR(Path("data.prompts", data.prompts, false));
  DTRPO_RETURN_IF_ERROR(Path("data.pairs", data.pairs, false));
  if (kind == JobKind::kTrain && data.prompts.empty() && data.pairs.empty()) {
    return Refuse("data.prompts", "is required, or data.pairs");
  }
  DTRPO_RETURN_IF_ERROR(InRange("data.min_pass_rate", data.min_pass_rate, 0.0, 1.0));
  DTRPO_RETURN_IF_ERROR(InRange("data.max_pass_rate", data.max_pass_rate, data.min_pass_rate, 1.0));
  DTRPO_RETURN_IF_ERROR(InRange("data.pass_rate_focus", int64_t{data.pass_rate_focus}, 0, 8));
  DTRPO_RETURN_IF_ERROR(OneOf("data.pairs_order", data.pairs_order, {"random", "noise"}));
  DTRPO_RETURN_IF_ERROR(InRange("data.pairs_heldout", data.pairs_heldout, 0.0, 0.5));
  DTRPO_RETURN_IF_ERROR(InRange("data.pairs_share", data.pairs_share, 0.0, 1.0));
  DTRPO_RETURN_IF_ERROR(Path("data.heldout", data.heldout, kind == JobKind::kEval));
  DTRPO_RETURN_IF_ERROR(Path("data.answer_field", data.answer_field, true));
  DTRPO_RETURN_IF_ERROR(
      InRange("data.max_prompt_tokens", int64_t{data.max_prompt_tokens}, 1, kMaxTokens));
  return InRange("data.epochs", int64_t{data.epochs}, 1, kMaxInt32);
}

absl::Status CheckSampling(const SamplingSpec& s) {
  DTRPO_RETURN_IF_ERROR(UnmaskRule("sampling.unmask", s.unmask));
  DTRPO_RETURN_IF_ERROR(
      OneOf("sampling.confidence", s.confidence, {trajectory::kUntempered, trajectory::kTempered}));
  if (s.repetition_guard != 0) {
    DTRPO_RETURN_IF_ERROR(
        InRange("sampling.repetition_guard", int64_t{s.repetition_guard}, 3, kMaxTokens));
  }
  DTRPO_RETURN_IF_ERROR(InRange("sampling.sub_block", int64_t{s.sub_block}, 0, kMaxTokens));
  DTRPO_RETURN_IF_ERROR(InRange("sampling.temperature", s.temperature, 0.0, 100.0));
  DTRPO_RETURN_IF_ERROR(Positive("sampling.top_p", s.top_p, 1));
  DTRPO_RETURN_IF_ERROR(InRange("sampling.top_k", int64_t{s.top_k}, 0, kMaxInt32));
  DTRPO_RETURN_IF_ERROR(
      InRange("sampling.max_new_tokens", int64_t{s.max_new_tokens}, 1, kMaxTokens));
  DTRPO_RETURN_IF_ERROR(
      InRange("sampling.samples_per_prompt", int64_t{s.samples_per_prompt}, 2, 1024));
  if (s.temperature == 0) {
    return Refuse("sampling.temperature", "0 makes the ", s.samples_per_prompt,
                  " samples of a prompt the same, so no pair can come of them");
  }
  return absl::OkStatus();
}

absl::Status CheckTerm(absl::string_view field, const reward::Term& term,
                       const RewardServiceSpec& service) {
  const absl::Status status = reward::Judge::Check({&term, 1});
  if (!status.ok()) return Refuse(field, status.message());
  if (!reward::ServiceReward(term.rule).empty() && service.address.empty()) {
    return Refuse("reward.service.address", "is required: ", field, " is '", term.rule, "'");
  }
  return absl::OkStatus();
}

absl::Status CheckReward(const RewardSpec& reward) {
  const std::vector<reward::Term> terms = RewardTerms(reward);
  for (size_t i = 0; i < terms.size(); ++i) {
    const std::string field =
        reward.terms.empty() ? "reward.verifier" : absl::StrCat("reward.terms[", i, "]");
    DTRPO_RETURN_IF_ERROR(CheckTerm(field, terms[i], reward.service));
  }
  const absl::Status sum = reward::Judge::Check(terms);
  if (!sum.ok()) return Refuse("reward.terms", sum.message());
  DTRPO_RETURN_IF_ERROR(
      InRange("reward.service.timeout_ms", reward.service.timeout_ms, 1, 3600000));
  DTRPO_RETURN_IF_ERROR(
      InRange("reward.service.attempts", int64_t{reward.service.attempts}, 1, 1000));
  DTRPO_RETURN_IF_ERROR(InRange("reward.service.outage_ms", reward.service.outage_ms, 1, 86400000));
  if (!reward::ParsePairing(reward.pairing)) {
    return Refuse("reward.pairing", "'", reward.pairing, "' is none of ", reward::kPairings);
  }
  DTRPO_RETURN_IF_ERROR(InRange("reward.min_gap", reward.min_gap, 0.0, 1e9));
  return InRange("reward.max_pairs_per_prompt", int64_t{reward.max_pairs_per_prompt}, 1, 512);
}

absl::Status CheckObjective(const ObjectiveSpec& o) {
  DTRPO_RETURN_IF_ERROR(Positive("objective.beta", o.beta, 1e6));
  DTRPO_RETURN_IF_ERROR(InRange("objective.draws", int64_t{o.draws}, 1, kMaxTokens));
  DTRPO_RETURN_IF_ERROR(OneOf("objective.boundary", o.boundary, {"clean", "noisy", "exclude"}));
  DTRPO_RETURN_IF_ERROR(OneOf("objective.draw_from", o.draw_from, {"", "block", "sequence"}));
  DTRPO_RETURN_IF_ERROR(InRange("objective.label_smoothing", o.label_smoothing, 0.0, 0.499));
  if (o.label_smoothing > 0 && o.loss != PreferenceLossKind::kSigmoid) {
    return Refuse("objective.label_smoothing", "is defined for the sigmoid loss only");
  }
  const bool random_masks = o.kind == ObjectiveKind::kVrpo || o.kind == ObjectiveKind::kRandomMask;
  if (random_masks && !o.draw_from.empty()) {
    return Refuse("objective.draw_from",
                  "is for steps; random masks are drawn from a block, or "
                  "from the whole answer for bidirectional models");
  }
  if (random_masks && o.weighting != Weighting::kSteps &&
      (o.kind == ObjectiveKind::kVrpo || o.weighting != Weighting::kMean)) {
    return Refuse("objective.weighting", o.kind == ObjectiveKind::kVrpo
                                             ? "vrpo weighs by 1 / t: 'steps' only"
                                             : "random_mask has 'steps' (the sum) and 'mean'");
  }
  return InRange("objective.sft_weight", o.sft_weight, 0.0, 1e6);
}

absl::Status CheckTraining(const TrainingSpec& t) {
  if (t.steps == 0) return Refuse("training.steps", "is required");
  DTRPO_RETURN_IF_ERROR(InRange("training.steps", t.steps, 1, kMaxSteps));
  DTRPO_RETURN_IF_ERROR(
      InRange("training.pairs_per_batch", int64_t{t.pairs_per_batch}, 1, kMaxCount));
  DTRPO_RETURN_IF_ERROR(Positive("training.learning_rate", t.learning_rate, 10));
  DTRPO_RETURN_IF_ERROR(
      InRange("training.final_learning_rate_ratio", t.final_learning_rate_ratio, 0.0, 1.0));
  DTRPO_RETURN_IF_ERROR(InRange("training.warmup_steps", int64_t{t.warmup_steps}, 0, t.steps));
  DTRPO_RETURN_IF_ERROR(InRange("training.weight_decay", t.weight_decay, 0.0, 10.0));
  DTRPO_RETURN_IF_ERROR(InRange("training.max_gradient_norm", t.max_gradient_norm, 0.0, 1e9));
  DTRPO_RETURN_IF_ERROR(InRange("training.publish_every", int64_t{t.publish_every}, 1, kMaxCount));
  DTRPO_RETURN_IF_ERROR(InRange("training.max_staleness", int64_t{t.max_staleness}, 0, kMaxCount));
  DTRPO_RETURN_IF_ERROR(
      InRange("training.checkpoint_every", int64_t{t.checkpoint_every}, 1, kMaxCount));
  DTRPO_RETURN_IF_ERROR(
      InRange("training.keep_checkpoints", int64_t{t.keep_checkpoints}, 1, kMaxCount));
  DTRPO_RETURN_IF_ERROR(
      InRange("training.max_shard_bytes", t.max_shard_bytes, 0, int64_t{1} << 60));
  DTRPO_RETURN_IF_ERROR(InRange("training.max_uses", int64_t{t.max_uses}, 1, kMaxCount));
  DTRPO_RETURN_IF_ERROR(
      InRange("training.micro_batch_pairs", int64_t{t.micro_batch_pairs}, 0, kMaxCount));
  DTRPO_RETURN_IF_ERROR(
      InRange("training.max_skipped_steps", int64_t{t.max_skipped_steps}, 0, kMaxCount));
  return InRange("training.max_prompts_without_pair", int64_t{t.max_prompts_without_pair}, 1,
                 kMaxInt32);
}

absl::Status CheckTrainedParts(const TrainingSpec& t) {
  for (const std::string& pattern : t.trainable) {
    DTRPO_RETURN_IF_ERROR(Path("training.trainable", pattern, true));
  }
  DTRPO_RETURN_IF_ERROR(InRange("training.lora.rank", int64_t{t.lora.rank}, 0, 65536));
  DTRPO_RETURN_IF_ERROR(InRange("training.lora.alpha", t.lora.alpha, 0.0, 1e6));
  DTRPO_RETURN_IF_ERROR(OneOf("training.lora.save", t.lora.save, {"merged", "adapter"}));
  if (t.lora.rank > 0 && !t.trainable.empty()) {
    return Refuse("training.trainable", "and training.lora exclude each other");
  }
  if (t.lora.rank == 0 && !t.lora.targets.empty()) {
    return Refuse("training.lora.targets", "need training.lora.rank");
  }
  DTRPO_RETURN_IF_ERROR(InRange("training.ranks", int64_t{t.ranks}, 1, 4096));
  DTRPO_RETURN_IF_ERROR(InRange("training.min_ranks", int64_t{t.min_ranks}, 0, t.ranks));
  return InRange("training.pairs_per_batch", int64_t{t.pairs_per_batch}, t.ranks, kMaxCount);
}

absl::Status CheckReplay(const ReplaySpec& r) {
  DTRPO_RETURN_IF_ERROR(InRange("replay.max_items", r.max_items, 0, int64_t{1} << 40));
  DTRPO_RETURN_IF_ERROR(InRange("replay.max_bytes", r.max_bytes, 1, int64_t{1} << 50));
  DTRPO_RETURN_IF_ERROR(OneOf("replay.durability", r.durability, {"memory", "log", "sync"}));
  DTRPO_RETURN_IF_ERROR(
      OneOf("replay.selector", r.selector, {"fifo", "uniform", "prioritised", "newest"}));
  DTRPO_RETURN_IF_ERROR(OneOf("replay.priority", r.priority, {"reward_gap", "learner"}));
  DTRPO_RETURN_IF_ERROR(InRange("replay.priority_exponent", r.priority_exponent, 0.0, 100.0));
  DTRPO_RETURN_IF_ERROR(InRange("replay.min_items", r.min_items, 0, int64_t{1} << 40));
  return InRange("replay.samples_per_insert", r.samples_per_insert, 0.0, 1e6);
}

absl::Status CheckEvaluation(const EvaluationSpec& e, const RewardServiceSpec& service) {
  DTRPO_RETURN_IF_ERROR(
      InRange("evaluation.every_versions", int64_t{e.every_versions}, 0, kMaxInt32));
  DTRPO_RETURN_IF_ERROR(InRange("evaluation.max_prompts", int64_t{e.max_prompts}, 0, kMaxInt32));
  DTRPO_RETURN_IF_ERROR(InRange("evaluation.show_samples", int64_t{e.show_samples}, 0, 1000));
  DTRPO_RETURN_IF_ERROR(
      OneOf("evaluation.layout", e.layout,
            {"prompts", "gsm8k", "math", "gpqa", "mbpp", "livecodebench", "ifeval"}));
  DTRPO_RETURN_IF_ERROR(Path("evaluation.template", e.prompt_template, false));
  if (e.layout == "prompts" && !e.prompt_template.empty()) {
    return Refuse("evaluation.template", "layout prompts has its prompts as they are");
  }
  DTRPO_RETURN_IF_ERROR(InRange("evaluation.samples", int64_t{e.samples}, 1, 1024));
  DTRPO_RETURN_IF_ERROR(InRange("evaluation.temperature", e.temperature, 0.0, 100.0));
  if (e.samples > 1 && e.temperature == 0) {
    return Refuse("evaluation.temperature", "0 makes the ", e.samples,
                  " answers to a question the same");
  }
  for (const int32_t k : e.pass_k) {
    DTRPO_RETURN_IF_ERROR(InRange("evaluation.pass_k", int64_t{k}, 1, e.samples));
  }
  DTRPO_RETURN_IF_ERROR(InRange("evaluation.stop_after", int64_t{e.stop_after}, 0, kMaxInt32));
  if (!e.verifier.empty()) {
    DTRPO_RETURN_IF_ERROR(CheckTerm("evaluation.verifier", {e.verifier, 1}, service));
  }
  if (!e.unmask.empty() && !e.policies.empty()) {
    return Refuse("evaluation.policies", "and evaluation.unmask exclude each other");
  }
  for (const std::string& policy : e.policies) {
    DTRPO_RETURN_IF_ERROR(UnmaskRule("evaluation.policies", policy));
    if (std::count(e.policies.begin(), e.policies.end(), policy) > 1) {
      return Refuse("evaluation.policies", "'", policy, "' is there twice");
    }
  }
  return e.unmask.empty() ? absl::OkStatus() : UnmaskRule("evaluation.unmask", e.unmask);
}

// What a file may say and its job doesn't carry out: refused rather than ignored.
absl::Status CheckCarriedOut(const JobSpec& spec) {
  const EvaluationSpec& e = spec.evaluation;
  if (spec.kind == JobKind::kEval) {
    constexpr absl::string_view kNothingTrained = "a job of kind eval trains on nothing";
    if (!spec.data.prompts.empty()) return Refuse("data.prompts", kNothingTrained);
    if (!spec.data.pairs.empty()) return Refuse("data.pairs", kNothingTrained);
    return absl::OkStatus();
  }
  if (e.policies.empty()) return absl::OkStatus();
  return Refuse("evaluation.policies", "is for jobs of kind eval, and for `dtrpo eval`");
}

}  // namespace

absl::Status Validate(const JobSpec& spec) {
  DTRPO_RETURN_IF_ERROR(CheckName(spec.name));
  DTRPO_RETURN_IF_ERROR(InRange("priority", int64_t{spec.priority}, -100, 100));
  DTRPO_RETURN_IF_ERROR(CheckModel(spec.model));
  DTRPO_RETURN_IF_ERROR(CheckData(spec.data, spec.kind));
  DTRPO_RETURN_IF_ERROR(CheckSampling(spec.sampling));
  DTRPO_RETURN_IF_ERROR(CheckReward(spec.reward));
  DTRPO_RETURN_IF_ERROR(CheckObjective(spec.objective));
  DTRPO_RETURN_IF_ERROR(CheckEvaluation(spec.evaluation, spec.reward.service));
  DTRPO_RETURN_IF_ERROR(Path("output", spec.output, true));
  DTRPO_RETURN_IF_ERROR(CheckCarriedOut(spec));
  if (spec.kind == JobKind::kEval) return absl::OkStatus();
  DTRPO_RETURN_IF_ERROR(CheckTraining(spec.training));
  DTRPO_RETURN_IF_ERROR(CheckTrainedParts(spec.training));
  DTRPO_RETURN_IF_ERROR(CheckReplay(spec.replay));
  return CheckReplayLimits(spec);
}

}  // namespace dtrpo::job

#include "common/wire/job_codec.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/util/message_differencer.h"

namespace dtrpo::wire {
namespace {

// Takes the proto's value unless it is the zero that stands for "not set"; `to` then keeps the
// domain's default.
template <typename Value, typename Field>
void Take(const Value& value, Field& to) {
  if (value != Value()) to = value;
}

struct NamedKind {
  const char* name;
  job::ObjectiveKind value;
};
constexpr NamedKind kKinds[] = {{"dtrpo", job::ObjectiveKind::kDtrpo},
                                {"exact", job::ObjectiveKind::kExact},
                                {"vrpo", job::ObjectiveKind::kVrpo},
                                {"random_mask", job::ObjectiveKind::kRandomMask}};
struct NamedLoss {
  const char* name;
  job::PreferenceLossKind value;
};
constexpr NamedLoss kLosses[] = {{"sigmoid", job::PreferenceLossKind::kSigmoid},
                                 {"ipo", job::PreferenceLossKind::kIpo}};
struct NamedWeighting {
  const char* name;
  job::Weighting value;
};
constexpr NamedWeighting kWeightings[] = {{"steps", job::Weighting::kSteps},
                                          {"one", job::Weighting::kOne},
                                          {"mean", job::Weighting::kMean}};
struct NamedCorrection {
  const char* name;
  job::StalenessCorrection value;
};
constexpr NamedCorrection kCorrections[] = {
    {"none", job::StalenessCorrection::kNone},
    {"rejected_ratio", job::StalenessCorrection::kRejectedRatio}};
struct NamedSchedule {
  const char* name;
  job::Schedule value;
};
constexpr NamedSchedule kSchedules[] = {{"constant", job::Schedule::kConstant},
                                        {"linear", job::Schedule::kLinear},
                                        {"cosine", job::Schedule::kCosine}};
struct NamedJobKind {
  const char* name;
  job::JobKind value;
};
constexpr NamedJobKind kJobKinds[] = {{"train", job::JobKind::kTrain},
                                      {"eval", job::JobKind::kEval}};

// Empty keeps the default that `to` holds.
template <typename Named, size_t kCount, typename Value>
absl::Status TakeWord(const char* field, const std::string& word, const Named (&table)[kCount],
                      Value& to) {
  if (word.empty()) return absl::OkStatus();
  std::string known;
  for (const Named& entry : table) {
    if (word == entry.name) {
      to = entry.value;
      return absl::OkStatus();
    }
    absl::StrAppend(&known, known.empty() ? "" : ", ", entry.name);
  }
  return absl::InvalidArgumentError(absl::StrCat(field, ": \"", word, "\" is none of: ", known));
}

template <typename Named, size_t kCount, typename Value>
const char* WordOf(const Named (&table)[kCount], Value value) {
  for (const Named& entry : table) {
    if (entry.value == value) return entry.name;
  }
  DTRPO_CHECK(false) << "enumeration value " << static_cast<int>(value) << " without a name";
  return "";
}

void TakeData(const v1::DataSpec& from, job::DataSpec& to) {
  Take(from.prompts(), to.prompts);
  Take(from.heldout(), to.heldout);
  Take(from.answer_field(), to.answer_field);
  if (from.has_apply_chat_template()) to.apply_chat_template = from.apply_chat_template();
  Take(from.max_prompt_tokens(), to.max_prompt_tokens);
  Take(from.epochs(), to.epochs);
  if (from.has_shuffle()) to.shuffle = from.shuffle();
  Take(from.pairs(), to.pairs);
  Take(from.pairs_order(), to.pairs_order);
  Take(from.pairs_heldout(), to.pairs_heldout);
  if (from.has_pairs_share()) to.pairs_share = from.pairs_share();
  Take(from.min_pass_rate(), to.min_pass_rate);
  if (from.has_max_pass_rate()) to.max_pass_rate = from.max_pass_rate();
  Take(from.pass_rate_focus(), to.pass_rate_focus);
}

void TakeSampling(const v1::SamplingSpec& from, job::SamplingSpec& to) {
  Take(from.unmask(), to.unmask);
  Take(from.sub_block(), to.sub_block);
  if (from.has_temperature()) to.temperature = from.temperature();
  Take(from.top_p(), to.top_p);
  Take(from.top_k(), to.top_k);
  Take(from.max_new_tokens(), to.max_new_tokens);
  Take(from.samples_per_prompt(), to.samples_per_prompt);
  Take(from.greedy_first_token(), to.greedy_first_token);
  Take(from.confidence(), to.confidence);
  Take(from.repetition_guard(), to.repetition_guard);
}

void TakeReward(const v1::RewardSpec& from, job::RewardSpec& to) {
  Take(from.verifier(), to.verifier);
  Take(from.min_gap(), to.min_gap);
  Take(from.max_pairs_per_prompt(), to.max_pairs_per_prompt);
  for (const v1::RewardTerm& term : from.terms()) {
    to.terms.push_back({term.verifier(), term.has_weight() ? term.weight() : 1});
  }
  Take(from.service().address(), to.service.address);
  Take(from.service().timeout_ms(), to.service.timeout_ms);
  Take(from.service().attempts(), to.service.attempts);
  Take(from.service().outage_ms(), to.service.outage_ms);
  Take(from.pairing(), to.pairing);
}

absl::Status TakeObjective(const v1::ObjectiveSpec& from, job::ObjectiveSpec& to) {
  Take(from.beta(), to.beta);
  Take(from.draws(), to.draws);
  DTRPO_RETURN_IF_ERROR(TakeWord("objective.kind", from.kind(), kKinds, to.kind));
  if (from.has_antithetic()) to.antithetic = from.antithetic();
  DTRPO_RETURN_IF_ERROR(TakeWord("objective.loss", from.loss(), kLosses, to.loss));
  Take(from.label_smoothing(), to.label_smoothing);
  DTRPO_RETURN_IF_ERROR(
      TakeWord("objective.weighting", from.weighting(), kWeightings, to.weighting));
  Take(from.boundary(), to.boundary);
  Take(from.draw_from(), to.draw_from);
  Take(from.length_normalised(), to.length_normalised);
  DTRPO_RETURN_IF_ERROR(TakeWord("objective.staleness_correction", from.staleness_correction(),
                                 kCorrections, to.staleness_correction));
  if (from.has_sft_weight()) to.sft_weight = from.sft_weight();
  return absl::OkStatus();
}

absl::Status TakeTraining(const v1::TrainingSpec& from, job::TrainingSpec& to) {
  Take(from.steps(), to.steps);
  Take(from.pairs_per_batch(), to.pairs_per_batch);
  Take(from.learning_rate(), to.learning_rate);
  DTRPO_RETURN_IF_ERROR(TakeWord("training.schedule", from.schedule(), kSchedules, to.schedule));
  if (from.has_final_learning_rate_ratio()) {
    to.final_learning_rate_ratio = from.final_learning_rate_ratio();
  }
  Take(from.warmup_steps(), to.warmup_steps);
  Take(from.weight_decay(), to.weight_decay);
  if (from.has_max_gradient_norm()) to.max_gradient_norm = from.max_gradient_norm();
  Take(from.publish_every(), to.publish_every);
  if (from.has_max_staleness()) to.max_staleness = from.max_staleness();
  Take(from.checkpoint_every(), to.checkpoint_every);
  Take(from.keep_checkpoints(), to.keep_checkpoints);
  Take(from.max_shard_bytes(), to.max_shard_bytes);
  Take(from.max_uses(), to.max_uses);
  Take(from.micro_batch_pairs(), to.micro_batch_pairs);
  if (from.has_max_skipped_steps()) to.max_skipped_steps = from.max_skipped_steps();
  Take(from.max_prompts_without_pair(), to.max_prompts_without_pair);
  to.trainable.assign(from.trainable().begin(), from.trainable().end());
  Take(from.lora().rank(), to.lora.rank);
  Take(from.lora().alpha(), to.lora.alpha);
  to.lora.targets.assign(from.lora().targets().begin(), from.lora().targets().end());
  Take(from.lora().save(), to.lora.save);
  Take(from.activation_checkpointing(), to.activation_checkpointing);
  Take(from.ranks(), to.ranks);
  Take(from.min_ranks(), to.min_ranks);
  return absl::OkStatus();
}

void TakeEvaluation(const v1::EvaluationSpec& from, job::EvaluationSpec& to) {
  Take(from.every_versions(), to.every_versions);
  Take(from.max_prompts(), to.max_prompts);
  if (from.has_show_samples()) to.show_samples = from.show_samples();
  Take(from.unmask(), to.unmask);
  Take(from.layout(), to.layout);
  Take(from.template_(), to.prompt_template);
  Take(from.samples(), to.samples);
  Take(from.temperature(), to.temperature);
  if (from.pass_k_size() > 0) to.pass_k.assign(from.pass_k().begin(), from.pass_k().end());
  Take(from.verifier(), to.verifier);
  if (from.has_keep_best()) to.keep_best = from.keep_best();
  Take(from.stop_after(), to.stop_after);
  to.policies.assign(from.policies().begin(), from.policies().end());
}

void TakeReplay(const v1::ReplaySpec& from, job::ReplaySpec& to) {
  Take(from.max_items(), to.max_items);
  Take(from.max_bytes(), to.max_bytes);
  Take(from.durability(), to.durability);
  Take(from.selector(), to.selector);
  Take(from.priority(), to.priority);
  if (from.has_priority_exponent()) to.priority_exponent = from.priority_exponent();
  Take(from.min_items(), to.min_items);
  Take(from.samples_per_insert(), to.samples_per_insert);
}

}  // namespace

absl::StatusOr<job::JobSpec> FromProto(const v1::JobSpec& from) {
  job::JobSpec to;
  Take(from.name(), to.name);
  Take(from.seed(), to.seed);
  DTRPO_RETURN_IF_ERROR(TakeWord("kind", from.kind(), kJobKinds, to.kind));
  Take(from.priority(), to.priority);
  Take(from.model().path(), to.model.path);
  Take(from.model().mask_token_id(), to.model.mask_token_id);
  Take(from.model().block_size(), to.model.block_size);
  Take(from.model().dtype(), to.model.dtype);
  Take(from.model().from_job(), to.model.from_job);
  to.model.stop_ids.assign(from.model().stop_ids().begin(), from.model().stop_ids().end());
  TakeData(from.data(), to.data);
  TakeSampling(from.sampling(), to.sampling);
  TakeReward(from.reward(), to.reward);
  DTRPO_RETURN_IF_ERROR(TakeObjective(from.objective(), to.objective));
  DTRPO_RETURN_IF_ERROR(TakeTraining(from.training(), to.training));
  TakeEvaluation(from.evaluation(), to.evaluation);
  TakeReplay(from.replay(), to.replay);
  Take(from.output(), to.output);
  DTRPO_RETURN_IF_ERROR(job::Validate(to));
  return to;
}

void ToProto(const job::JobSpec& from, v1::JobSpec* to) {
  to->Clear();
  to->set_name(from.name);
  to->set_seed(from.seed);
  to->set_kind(WordOf(kJobKinds, from.kind));
  to->set_priority(from.priority);

  v1::ModelSpec* model = to->mutable_model();
  model->set_path(from.model.path);
  model->set_mask_token_id(from.model.mask_token_id);
  model->set_block_size(from.model.block_size);
  model->set_dtype(from.model.dtype);
  for (const int32_t id : from.model.stop_ids) model->add_stop_ids(id);
  model->set_from_job(from.model.from_job);

  v1::DataSpec* data = to->mutable_data();
  data->set_prompts(from.data.prompts);
  data->set_heldout(from.data.heldout);
  data->set_answer_field(from.data.answer_field);
  data->set_apply_chat_template(from.data.apply_chat_template);
  data->set_max_prompt_tokens(from.data.max_prompt_tokens);
  data->set_epochs(from.data.epochs);
  data->set_shuffle(from.data.shuffle);
  data->set_pairs(from.data.pairs);
  data->set_pairs_order(from.data.pairs_order);
  data->set_pairs_heldout(from.data.pairs_heldout);
  data->set_pairs_share(from.data.pairs_share);
  data->set_min_pass_rate(from.data.min_pass_rate);
  data->set_max_pass_rate(from.data.max_pass_rate);
  data->set_pass_rate_focus(from.data.pass_rate_focus);

  v1::SamplingSpec* sampling = to->mutable_sampling();
  sampling->set_unmask(from.sampling.unmask);
  sampling->set_sub_block(from.sampling.sub_block);
  sampling->set_temperature(from.sampling.temperature);
  sampling->set_top_p(from.sampling.top_p);
  sampling->set_top_k(from.sampling.top_k);
  sampling->set_max_new_tokens(from.sampling.max_new_tokens);
  sampling->set_samples_per_prompt(from.sampling.samples_per_prompt);
  sampling->set_greedy_first_token(from.sampling.greedy_first_token);
  sampling->set_confidence(from.sampling.confidence);
  sampling->set_repetition_guard(from.sampling.repetition_guard);

  v1::RewardSpec* reward = to->mutable_reward();
  reward->set_verifier(from.reward.verifier);
  reward->set_min_gap(from.reward.min_gap);
  reward->set_max_pairs_per_prompt(from.reward.max_pairs_per_prompt);
  for (const job::RewardTerm& from_term : from.reward.terms) {
    v1::RewardTerm* term = reward->add_terms();
    term->set_verifier(from_term.verifier);
    term->set_weight(from_term.weight);
  }
  reward->mutable_service()->set_address(from.reward.service.address);
  reward->mutable_service()->set_timeout_ms(from.reward.service.timeout_ms);
  reward->mutable_service()->set_attempts(from.reward.service.attempts);
  reward->mutable_service()->set_outage_ms(from.reward.service.outage_ms);
  reward->set_pairing(from.reward.pairing);

  v1::ObjectiveSpec* objective = to->mutable_objective();
  objective->set_beta(from.objective.beta);
  objective->set_draws(from.objective.draws);
  objective->set_kind(WordOf(kKinds, from.objective.kind));
  objective->set_antithetic(from.objective.antithetic);
  objective->set_loss(WordOf(kLosses, from.objective.loss));
  objective->set_label_smoothing(from.objective.label_smoothing);
  objective->set_weighting(WordOf(kWeightings, from.objective.weighting));
  objective->set_boundary(from.objective.boundary);
  objective->set_draw_from(from.objective.draw_from);
  objective->set_length_normalised(from.objective.length_normalised);
  objective->set_staleness_correction(WordOf(kCorrections, from.objective.staleness_correction));
  objective->set_sft_weight(from.objective.sft_weight);

  v1::TrainingSpec* training = to->mutable_training();
  training->set_steps(from.training.steps);
  training->set_pairs_per_batch(from.training.pairs_per_batch);
  training->set_learning_rate(from.training.learning_rate);
  training->set_schedule(WordOf(kSchedules, from.training.schedule));
  training->set_final_learning_rate_ratio(from.training.final_learning_rate_ratio);
  training->set_warmup_steps(from.training.warmup_steps);
  training->set_weight_decay(from.training.weight_decay);
  training->set_max_gradient_norm(from.training.max_gradient_norm);
  training->set_publish_every(from.training.publish_every);
  training->set_max_staleness(from.training.max_staleness);
  training->set_checkpoint_every(from.training.checkpoint_every);
  training->set_keep_checkpoints(from.training.keep_checkpoints);
  training->set_max_shard_bytes(from.training.max_shard_bytes);
  training->set_max_uses(from.training.max_uses);
  training->set_micro_batch_pairs(from.training.micro_batch_pairs);
  training->set_max_skipped_steps(from.training.max_skipped_steps);
  training->set_max_prompts_without_pair(from.training.max_prompts_without_pair);
  for (const std::string& pattern : from.training.trainable) training->add_trainable(pattern);
  v1::LoraSpec* lora = training->mutable_lora();
  lora->set_rank(from.training.lora.rank);
  lora->set_alpha(from.training.lora.alpha);
  for (const std::string& target : from.training.lora.targets) lora->add_targets(target);
  lora->set_save(from.training.lora.save);
  training->set_activation_checkpointing(from.training.activation_checkpointing);
  training->set_ranks(from.training.ranks);
  training->set_min_ranks(from.training.min_ranks);

  v1::EvaluationSpec* evaluation = to->mutable_evaluation();
  evaluation->set_every_versions(from.evaluation.every_versions);
  evaluation->set_max_prompts(from.evaluation.max_prompts);
  evaluation->set_show_samples(from.evaluation.show_samples);
  evaluation->set_unmask(from.evaluation.unmask);
  evaluation->set_layout(from.evaluation.layout);
  evaluation->set_template_(from.evaluation.prompt_template);
  evaluation->set_samples(from.evaluation.samples);
  evaluation->set_temperature(from.evaluation.temperature);
  for (const int32_t k : from.evaluation.pass_k) evaluation->add_pass_k(k);
  evaluation->set_verifier(from.evaluation.verifier);
  evaluation->set_keep_best(from.evaluation.keep_best);
  evaluation->set_stop_after(from.evaluation.stop_after);
  for (const std::string& policy : from.evaluation.policies) evaluation->add_policies(policy);

  v1::ReplaySpec* replay = to->mutable_replay();
  replay->set_max_items(from.replay.max_items);
  replay->set_max_bytes(from.replay.max_bytes);
  replay->set_durability(from.replay.durability);
  replay->set_selector(from.replay.selector);
  replay->set_priority(from.replay.priority);
  replay->set_priority_exponent(from.replay.priority_exponent);
  replay->set_min_items(from.replay.min_items);
  replay->set_samples_per_insert(from.replay.samples_per_insert);

  to->set_output(from.output);
}

namespace {

// Clears what `message` and `defaults` have in common.
void ClearDefaults(const google::protobuf::Message& defaults, google::protobuf::Message* message) {
  const google::protobuf::Reflection* reflection = message->GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection->ListFields(*message, &fields);
  for (const google::protobuf::FieldDescriptor* field : fields) {
    const bool nested = !field->is_repeated() &&
                        field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE;
    if (nested) {
      google::protobuf::Message* inner = reflection->MutableMessage(message, field);
      ClearDefaults(reflection->GetMessage(defaults, field), inner);
      if (inner->ByteSizeLong() == 0) reflection->ClearField(message, field);
      continue;
    }
    google::protobuf::util::MessageDifferencer differencer;
    differencer.set_message_field_comparison(
        google::protobuf::util::MessageDifferencer::EQUIVALENT);
    if (differencer.CompareWithFields(defaults, *message, {field}, {field})) {
      reflection->ClearField(message, field);
    }
  }
}

}  // namespace

std::string Fingerprint(v1::JobSpec resolved) {
  v1::JobSpec defaults;
  ToProto(job::JobSpec(), &defaults);
  resolved.DiscardUnknownFields();
  ClearDefaults(defaults, &resolved);
  return resolved.SerializeAsString();
}

bool IsFinal(v1::JobState state) {
  return state == v1::SUCCEEDED || state == v1::FAILED || state == v1::JOB_CANCELLED;
}

}  // namespace dtrpo::wire

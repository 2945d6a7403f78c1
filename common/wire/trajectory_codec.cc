#include "common/wire/trajectory_codec.h"

#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "google/protobuf/util/json_util.h"

namespace dtrpo::wire {
namespace {

using trajectory::BlockOrigin;
using trajectory::FinishReason;
using trajectory::FirstToken;

v1::BlockOrigin ToProto(BlockOrigin origin) {
  return origin == BlockOrigin::kAbsolute ? v1::ABSOLUTE : v1::RESPONSE;
}

v1::FirstTokenSource ToProto(FirstToken source) {
  switch (source) {
    case FirstToken::kNone:
      return v1::NO_FIRST_TOKEN;
    case FirstToken::kSampled:
      return v1::CLEAN_ROW_SAMPLED;
    case FirstToken::kGreedy:
      return v1::CLEAN_ROW_GREEDY;
  }
  DTRPO_CHECK(false) << "first token source " << static_cast<int>(source);
  return v1::FIRST_TOKEN_SOURCE_UNSPECIFIED;
}

absl::Status BadField(const std::string& id, absl::string_view field, absl::string_view problem) {
  return absl::InvalidArgumentError(
      absl::StrCat("trajectory \"", id, "\": field ", field, ": ", problem));
}

absl::StatusOr<BlockOrigin> OriginFromProto(const v1::Trajectory& from) {
  switch (from.block_origin()) {
    case v1::ABSOLUTE:
      return BlockOrigin::kAbsolute;
    case v1::RESPONSE:
      return BlockOrigin::kResponse;
    default:
      return BadField(from.id(), "block_origin",
                      absl::StrCat("unknown value ", from.block_origin()));
  }
}

absl::StatusOr<FinishReason> FinishReasonFromProto(const v1::Trajectory& from) {
  switch (from.finish_reason()) {
    case v1::STOP:
      return FinishReason::kStop;
    case v1::LENGTH:
      return FinishReason::kLength;
    case v1::CANCELLED:
      return FinishReason::kCancelled;
    case v1::REPETITION:
      return FinishReason::kRepetition;
    default:
      return BadField(from.id(), "finish_reason",
                      absl::StrCat("unknown value ", from.finish_reason()));
  }
}

absl::StatusOr<FirstToken> FirstTokenFromProto(const v1::Trajectory& from) {
  switch (from.sampler().first_token()) {
    case v1::NO_FIRST_TOKEN:
      return FirstToken::kNone;
    case v1::CLEAN_ROW_SAMPLED:
      return FirstToken::kSampled;
    case v1::CLEAN_ROW_GREEDY:
      return FirstToken::kGreedy;
    default:
      return BadField(from.id(), "sampler.first_token",
                      absl::StrCat("unknown value ", from.sampler().first_token()));
  }
}

// Values of fields that a hand-written line may leave out.
void FillMissing(v1::Trajectory& t) {
  if (t.format_version() == 0) t.set_format_version(trajectory::kFormatVersion);
  if (!t.has_stop_index()) t.set_stop_index(-1);
  if (t.finish_reason() == v1::FINISH_REASON_UNSPECIFIED) {
    t.set_finish_reason(t.stop_index() >= 0 ? v1::STOP : v1::LENGTH);
  }
  if (t.block_origin() == v1::BLOCK_ORIGIN_UNSPECIFIED) t.set_block_origin(v1::ABSOLUTE);
  if (t.weights_version().empty() && t.behaviour_logprob().empty()) t.set_external(true);
  v1::SamplerParameters& sampler = *t.mutable_sampler();
  const trajectory::SamplerParameters defaults;
  if (sampler.unmask().empty()) sampler.set_unmask(defaults.unmask);
  if (sampler.top_p() == 0) sampler.set_top_p(1);
  if (sampler.max_new_tokens() == 0) sampler.set_max_new_tokens(t.response_tokens_size());
  if (sampler.confidence().empty()) sampler.set_confidence(defaults.confidence);
  if (sampler.first_token() == v1::FIRST_TOKEN_SOURCE_UNSPECIFIED) {
    bool has_first_token = false;
    for (int32_t step : t.unmask_step()) {
      has_first_token = has_first_token || step == trajectory::kBlockFirstStep;
    }
    sampler.set_first_token(has_first_token ? v1::CLEAN_ROW_SAMPLED : v1::NO_FIRST_TOKEN);
  }
}

}  // namespace

v1::FinishReason ToProto(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return v1::STOP;
    case FinishReason::kLength:
      return v1::LENGTH;
    case FinishReason::kCancelled:
      return v1::CANCELLED;
    case FinishReason::kRepetition:
      return v1::REPETITION;
  }
  DTRPO_CHECK(false) << "finish reason " << static_cast<int>(reason);
  return v1::FINISH_REASON_UNSPECIFIED;
}

void ToProto(const trajectory::SamplerParameters& from, v1::SamplerParameters* to) {
  to->set_unmask(from.unmask);
  to->set_sub_block(from.sub_block);
  to->set_temperature(from.temperature);
  to->set_top_p(from.top_p);
  to->set_top_k(from.top_k);
  to->set_max_new_tokens(from.max_new_tokens);
  to->set_confidence(from.confidence);
  to->set_first_token(ToProto(from.first_token));
  to->set_repetition_guard(from.repetition_guard);
}

void ToProto(const trajectory::Trajectory& from, v1::Trajectory* to) {
  to->Clear();
  to->set_format_version(from.format_version);
  to->set_id(from.id);
  to->set_model_id(from.model_id);
  to->mutable_prompt_tokens()->Add(from.prompt_tokens.begin(), from.prompt_tokens.end());
  to->mutable_response_tokens()->Add(from.response_tokens.begin(), from.response_tokens.end());
  to->mutable_unmask_step()->Add(from.unmask_step.begin(), from.unmask_step.end());
  to->mutable_behaviour_logprob()->Add(from.behaviour_logprob.begin(),
                                       from.behaviour_logprob.end());
  to->set_block_size(from.block_size);
  to->set_block_origin(ToProto(from.block_origin));
  to->set_stop_index(from.stop_index);
  to->set_finish_reason(ToProto(from.finish_reason));
  ToProto(from.sampler, to->mutable_sampler());
  to->set_seed(absl::StrCat(from.seed));
  to->mutable_weights_version()->Add(from.weights_version.begin(), from.weights_version.end());
  to->set_text(from.text);
  to->set_reward(from.reward);
  to->set_reward_reason(from.reward_reason);
  to->set_external(from.external);
}

void ToProto(const trajectory::PreferencePair& from, v1::PreferencePair* to) {
  to->Clear();
  to->set_id(from.id);
  ToProto(from.chosen, to->mutable_chosen());
  ToProto(from.rejected, to->mutable_rejected());
}

absl::StatusOr<trajectory::Trajectory> FromProto(const v1::Trajectory& from,
                                                 int64_t vocabulary_size) {
  trajectory::Trajectory to;
  to.format_version = from.format_version();
  to.id = from.id();
  to.model_id = from.model_id();
  to.prompt_tokens.assign(from.prompt_tokens().begin(), from.prompt_tokens().end());
  to.response_tokens.assign(from.response_tokens().begin(), from.response_tokens().end());
  to.unmask_step.assign(from.unmask_step().begin(), from.unmask_step().end());
  to.behaviour_logprob.assign(from.behaviour_logprob().begin(), from.behaviour_logprob().end());
  to.block_size = from.block_size();
  DTRPO_ASSIGN_OR_RETURN(to.block_origin, OriginFromProto(from));
  to.stop_index = from.has_stop_index() ? from.stop_index() : -1;
  DTRPO_ASSIGN_OR_RETURN(to.finish_reason, FinishReasonFromProto(from));
  const v1::SamplerParameters& sampler = from.sampler();
  to.sampler.unmask = sampler.unmask();
  to.sampler.sub_block = sampler.sub_block();
  to.sampler.temperature = sampler.temperature();
  to.sampler.top_p = sampler.top_p();
  to.sampler.top_k = sampler.top_k();
  to.sampler.max_new_tokens = sampler.max_new_tokens();
  to.sampler.confidence = sampler.confidence();
  DTRPO_ASSIGN_OR_RETURN(to.sampler.first_token, FirstTokenFromProto(from));
  to.sampler.repetition_guard = sampler.repetition_guard();
  if (!from.seed().empty() && !absl::SimpleAtoi(from.seed(), &to.seed)) {
    return BadField(from.id(), "seed",
                    absl::StrCat("\"", from.seed(), "\" is not an unsigned 64-bit decimal"));
  }
  to.weights_version.assign(from.weights_version().begin(), from.weights_version().end());
  to.text = from.text();
  to.reward = from.reward();
  to.reward_reason = from.reward_reason();
  to.external = from.external();
  DTRPO_RETURN_IF_ERROR(trajectory::Validate(to, vocabulary_size));
  return to;
}

absl::StatusOr<trajectory::PreferencePair> FromProto(const v1::PreferencePair& from,
                                                     int64_t vocabulary_size) {
  trajectory::PreferencePair to;
  to.id = from.id();
  DTRPO_ASSIGN_OR_RETURN(to.chosen, FromProto(from.chosen(), vocabulary_size));
  DTRPO_ASSIGN_OR_RETURN(to.rejected, FromProto(from.rejected(), vocabulary_size));
  DTRPO_RETURN_IF_ERROR(trajectory::Validate(to, vocabulary_size));
  return to;
}

std::string ToJsonLine(const trajectory::Trajectory& from) {
  v1::Trajectory proto;
  ToProto(from, &proto);
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string line;
  const auto status = google::protobuf::util::MessageToJsonString(proto, &line, options);
  DTRPO_CHECK(status.ok()) << "trajectory " << from.id << ": " << status.ToString();
  return line;
}

absl::StatusOr<trajectory::Trajectory> FromJsonLine(absl::string_view line,
                                                    int64_t vocabulary_size) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  v1::Trajectory proto;
  const auto status =
      google::protobuf::util::JsonStringToMessage({line.data(), line.size()}, &proto, options);
  if (!status.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("not a trajectory: ", std::string(status.message())));
  }
  FillMissing(proto);
  return FromProto(proto, vocabulary_size);
}

}  // namespace dtrpo::wire

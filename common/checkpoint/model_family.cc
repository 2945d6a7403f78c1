// The rules that turn the files of a checkpoint into a ModelDescriptor: family, mask, stop ids; and
// the readers of the files that name tokens.
#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/json_object.h"
#include "common/checkpoint/model_config.h"

namespace dtrpo::checkpoint {
namespace {

using nlohmann::json;

struct Family {
  absl::string_view name;
  absl::string_view architecture_class;  // in "architectures"
  absl::string_view model_type;
  Architecture architecture;
  Attention attention;
  BlockOrigin origin;
  int32_t sub_block;
  int32_t logit_shift;
  bool qk_norm;
  bool qkv_bias;  // unless the config says otherwise
};

constexpr Family kFamilies[] = {
    {"fast_dllm_v2", "Fast_dLLM_QwenForCausalLM", "Fast_dLLM_Qwen", Architecture::kQwen2,
     Attention::kBlockCausal, BlockOrigin::kAbsolute, 8, 1, false, true},
    {"sdar", "SDARForCausalLM", "sdar", Architecture::kQwen3, Attention::kBlockCausal,
     BlockOrigin::kAbsolute, 0, 0, true, false},
    {"llada", "LLaDAModelLM", "llada", Architecture::kLlada, Attention::kBidirectional,
     BlockOrigin::kResponse, 0, 0, false, false},
    {"dream", "DreamModel", "Dream", Architecture::kQwen2, Attention::kBidirectional,
     BlockOrigin::kResponse, 0, 1, false, true},
};

bool Contains(const std::vector<std::string>& list, absl::string_view value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

bool IsPlainQwen2(const ModelConfig& config) {
  return Contains(config.architectures, "Qwen2ForCausalLM") || config.model_type == "qwen2";
}

absl::StatusOr<Family> FindFamily(const ModelConfig& config, const DescriptorOverrides& overrides) {
  for (const Family& family : kFamilies) {
    if (Contains(config.architectures, family.architecture_class)) return family;
  }
  for (const Family& family : kFamilies) {
    if (config.model_type == family.model_type) return family;
  }
  // Fast-dLLM-v2 trained with stock Qwen2 classes.
  if (IsPlainQwen2(config) && (config.bd_size.has_value() || overrides.block_size.has_value())) {
    return kFamilies[0];
  }
  const std::string known =
      absl::StrJoin(kFamilies, ", ", [](std::string* out, const Family& family) {
        absl::StrAppend(out, family.name, " (", family.architecture_class, ")");
      });
  return absl::UnimplementedError(absl::StrCat(
      config.file, ": field 'architectures': [", absl::StrJoin(config.architectures, ", "),
      "] with model_type '", config.model_type, "' is not known. Known: ", known,
      ", and Qwen2ForCausalLM with bd_size in the config or a block size given (--block-size N, or "
      "model.block_size in a job)"));
}

absl::StatusOr<int32_t> BlockSizeOf(const ModelConfig& config, const Family& family,
                                    const DescriptorOverrides& overrides) {
  if (overrides.block_size.has_value()) {
    if (*overrides.block_size >= 1) return *overrides.block_size;
    return absl::InvalidArgumentError(
        absl::StrCat("option block_size: is ", *overrides.block_size, ", must be at least 1"));
  }
  if (family.attention == Attention::kBidirectional) return 0;
  const bool fast_dllm = family.name == "fast_dllm_v2";
  const std::optional<int32_t> size = fast_dllm ? config.bd_size : config.block_size;
  if (size.has_value()) return *size;
  return absl::InvalidArgumentError(absl::StrCat(config.file, ": field '",
                                                 fast_dllm ? "bd_size" : "block_size",
                                                 "': is missing; give --block-size N, or "
                                                 "model.block_size in a job"));
}

std::vector<int32_t> StopIdsOf(const ModelConfig& config, const TokenFiles& files,
                               const DescriptorOverrides& overrides) {
  if (!overrides.stop_ids.empty()) return overrides.stop_ids;
  std::vector<int32_t> ids;
  if (files.end_of_turn_id.has_value()) ids.push_back(*files.end_of_turn_id);
  for (const std::vector<int32_t>* source : {&files.generation_eos_ids, &config.eos_token_ids}) {
    for (const int32_t id : *source) {
      if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
    }
  }
  return ids;
}

}  // namespace

DescriptorOverrides GivenOverrides(int32_t mask_token_id, int32_t block_size,
                                   std::vector<int32_t> stop_ids) {
  DescriptorOverrides overrides;
  if (mask_token_id > 0) overrides.mask_token_id = mask_token_id;
  if (block_size > 0) overrides.block_size = block_size;
  overrides.stop_ids = std::move(stop_ids);
  return overrides;
}

absl::StatusOr<ModelDescriptor> DescribeModel(const ModelConfig& config, const TokenFiles& files,
                                              const DescriptorOverrides& overrides) {
  DTRPO_ASSIGN_OR_RETURN(const Family family, FindFamily(config, overrides));
  ModelDescriptor d;
  d.family = std::string(family.name);
  d.architecture = family.architecture;
  d.attention = family.attention;
  d.block_origin = family.origin;
  d.logit_shift = family.logit_shift;
  d.qk_norm = family.qk_norm;
  // Qwen2 has q/k/v biases by definition: its config has no such field, and one that is there is
  // not read by its code.
  d.qkv_bias = family.architecture == Architecture::kQwen2
                   ? true
                   : config.attention_bias.value_or(family.qkv_bias);
  d.hidden_size = config.hidden_size;
  d.num_layers = config.num_hidden_layers;
  d.num_heads = config.num_attention_heads;
  d.num_key_value_heads = config.num_key_value_heads;
  d.head_dim = config.head_dim;
  d.intermediate_size = config.intermediate_size;
  d.vocab_size = config.vocab_size;
  d.rope_theta = config.rope_theta;
  d.rms_norm_eps = config.rms_norm_eps;
  d.initializer_range = config.initializer_range;
  d.tie_word_embeddings = config.tie_word_embeddings;
  DTRPO_ASSIGN_OR_RETURN(d.block_size, BlockSizeOf(config, family, overrides));
  if (family.sub_block > 0 && d.block_size % family.sub_block == 0) d.sub_block = family.sub_block;

  std::optional<int32_t> mask = overrides.mask_token_id;
  if (!mask.has_value()) mask = config.mask_token_id;
  if (!mask.has_value()) mask = files.mask_token_id;
  if (!mask.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat(
        config.file, ": field 'mask_token_id': is missing, none of the added tokens is ",
        absl::StrJoin(KnownMaskTokens(), " or "),
        "; give --mask-token-id ID, or model.mask_token_id in a job"));
  }
  d.mask_id = *mask;
  d.stop_ids = StopIdsOf(config, files, overrides);
  if (d.stop_ids.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(config.file, ": field 'eos_token_id': is missing, also from ",
                     "generation_config.json, and the chat template ends no turn; give "
                     "--stop-ids ID,ID, or model.stop_ids in a job"));
  }
  d.pad_id = config.pad_token_id.value_or(files.generation_pad_id.value_or(d.stop_ids.front()));
  DTRPO_RETURN_IF_ERROR(base::Annotate(Validate(d), config.file));
  return d;
}

const std::vector<std::string>& KnownMaskTokens() {
  static const auto* const kTokens =
      new std::vector<std::string>{"|<MASK>|", "<|MASK|>", "<|mask|>", "<|mdm_mask|>"};
  return *kTokens;
}

const std::vector<std::string>& EndOfTurnTokens() {
  static const auto* const kTokens =
      new std::vector<std::string>{"<|im_end|>", "<|eot_id|>", "<|role_end|>"};
  return *kTokens;
}

absl::StatusOr<std::string> ChatTemplateOf(absl::string_view text, const std::string& file) {
  DTRPO_ASSIGN_OR_RETURN(const JsonObject config, JsonObject::Parse(text, file));
  const json* value = config.Find("chat_template");
  if (value == nullptr) return std::string();
  if (value->is_string()) return value->get<std::string>();
  if (!value->is_array()) {
    return config.Invalid("chat_template", "must be text or a list of named templates");
  }
  std::string all;
  for (const json& entry : *value) {
    if (!entry.is_object() || !entry.contains("template") || !entry["template"].is_string()) {
      return config.Invalid("chat_template", "must be text or a list of named templates");
    }
    absl::StrAppend(&all, entry["template"].get<std::string>(), "\n");
  }
  return all;
}

absl::StatusOr<std::optional<int32_t>> IdInAddedTokens(absl::string_view text,
                                                       const std::string& file,
                                                       const std::vector<std::string>& tokens) {
  DTRPO_ASSIGN_OR_RETURN(const JsonObject added, JsonObject::Parse(text, file));
  for (const std::string& token : tokens) {
    DTRPO_ASSIGN_OR_RETURN(const auto id, added.OptionalInt(token, 0, INT32_MAX));
    if (id.has_value()) return static_cast<int32_t>(*id);
  }
  return std::nullopt;
}

absl::StatusOr<std::optional<int32_t>> IdInTokenizerConfig(absl::string_view text,
                                                           const std::string& file,
                                                           const std::vector<std::string>& tokens) {
  DTRPO_ASSIGN_OR_RETURN(const JsonObject config, JsonObject::Parse(text, file));
  DTRPO_ASSIGN_OR_RETURN(const auto decoder, config.OptionalObject("added_tokens_decoder"));
  if (!decoder.has_value()) return std::nullopt;
  for (const std::string& token : tokens) {
    for (const auto& entry : decoder->value().items()) {
      if (!entry.value().is_object() || entry.value().value("content", json()) != token) continue;
      int32_t id = 0;
      if (!absl::SimpleAtoi(entry.key(), &id) || id < 0) {
        return decoder->Invalid(entry.key(), "is no token id");
      }
      return id;
    }
  }
  return std::nullopt;
}

absl::StatusOr<std::optional<int32_t>> IdInTokenizerJson(absl::string_view text,
                                                         const std::string& file,
                                                         const std::vector<std::string>& tokens) {
  DTRPO_ASSIGN_OR_RETURN(const JsonObject tokenizer, JsonObject::Parse(text, file));
  const json* list = tokenizer.Find("added_tokens");
  if (list == nullptr) return std::nullopt;
  if (!list->is_array()) return tokenizer.Invalid("added_tokens", "must be a list");
  for (const std::string& name : tokens) {
    for (const json& entry : *list) {
      if (!entry.is_object() || entry.value("content", json()) != name) continue;
      const JsonObject token(entry, file, "added_tokens.");
      DTRPO_ASSIGN_OR_RETURN(const int64_t id, token.Int("id", 0, INT32_MAX));
      return static_cast<int32_t>(id);
    }
  }
  return std::nullopt;
}

absl::Status ReadGenerationConfig(absl::string_view text, const std::string& file,
                                  TokenFiles* files) {
  DTRPO_ASSIGN_OR_RETURN(const JsonObject object, JsonObject::Parse(text, file));
  DTRPO_ASSIGN_OR_RETURN(files->generation_eos_ids, object.TokenIds("eos_token_id"));
  DTRPO_ASSIGN_OR_RETURN(const auto pad, object.OptionalInt("pad_token_id", 0, INT32_MAX));
  files->generation_pad_id = pad;
  return absl::OkStatus();
}

}  // namespace dtrpo::checkpoint

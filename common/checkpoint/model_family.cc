// The rules that turn the files of a checkpoint into a ModelDescriptor: family, mask, stop ids.
#include <algorithm>
#include <utility>

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
      ", and Qwen2ForCausalLM with bd_size in the config or a block size given"));
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
                                                 "': is missing, and no block size is given"));
}

std::vector<int32_t> StopIdsOf(const ModelConfig& config, const TokenFiles& files,
                               const DescriptorOverrides& overrides) {
  if (!overrides.stop_ids.empty()) return overrides.stop_ids;
  std::vector<int32_t> ids;
  for (const std::vector<int32_t>* source : {&files.generation_eos_ids, &config.eos_token_ids}) {
    for (const int32_t id : *source) {
      if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
    }
  }
  return ids;
}

}  // namespace

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
        absl::StrJoin(KnownMaskTokens(), " or "), ", and no mask token id is given"));
  }
  d.mask_id = *mask;
  d.stop_ids = StopIdsOf(config, files, overrides);
  if (d.stop_ids.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(config.file, ": field 'eos_token_id': is missing, also from ",
                     "generation_config.json, and no stop id is given"));
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

absl::StatusOr<std::optional<int32_t>> MaskFromAddedTokens(absl::string_view text,
                                                           const std::string& file) {
  DTRPO_ASSIGN_OR_RETURN(const JsonObject tokens, JsonObject::Parse(text, file));
  for (const std::string& name : KnownMaskTokens()) {
    DTRPO_ASSIGN_OR_RETURN(const auto id, tokens.OptionalInt(name, 0, INT32_MAX));
    if (id.has_value()) return static_cast<int32_t>(*id);
  }
  return std::nullopt;
}

absl::StatusOr<std::optional<int32_t>> MaskFromTokenizerJson(absl::string_view text,
                                                             const std::string& file) {
  DTRPO_ASSIGN_OR_RETURN(const JsonObject tokenizer, JsonObject::Parse(text, file));
  const json* list = tokenizer.Find("added_tokens");
  if (list == nullptr) return std::nullopt;
  if (!list->is_array()) return tokenizer.Invalid("added_tokens", "must be a list");
  for (const std::string& name : KnownMaskTokens()) {
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

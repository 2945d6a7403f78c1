#include "common/checkpoint/model_config.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/json_object.h"

namespace dtrpo::checkpoint {
namespace {

using nlohmann::json;

constexpr int64_t kMaxSize = 1 << 24;  // of any width or count; a typo, not a model, is larger
constexpr int64_t kMaxTokenId = INT32_MAX;

// The same quantity under the names that families use.
struct FieldNames {
  const char* hidden_size = "hidden_size";
  const char* layers = "num_hidden_layers";
  const char* heads = "num_attention_heads";
  const char* key_value_heads = "num_key_value_heads";
  const char* intermediate_size = "intermediate_size";
  const char* tied = "tie_word_embeddings";
  const char* attention_bias = "attention_bias";
  const char* activation = "hidden_act";
  const char* max_positions = "max_position_embeddings";
};

FieldNames NamesOf(absl::string_view model_type) {
  if (model_type != "llada") return {};
  return {.hidden_size = "d_model",
          .layers = "n_layers",
          .heads = "n_heads",
          .key_value_heads = "n_kv_heads",
          .intermediate_size = "mlp_hidden_size",
          .tied = "weight_tying",
          .attention_bias = "include_qkv_bias",
          .activation = "activation_type",
          .max_positions = "max_sequence_length"};
}

absl::Status Unsupported(const std::string& file, absl::string_view field, absl::string_view what) {
  return absl::UnimplementedError(absl::StrCat(file, ": field '", field, "': ", what));
}

absl::Status RefuseScaledRope(const JsonObject& object, const std::string& file,
                              const std::string& field) {
  DTRPO_ASSIGN_OR_RETURN(const auto scaling, object.OptionalObject(field));
  if (!scaling.has_value()) return absl::OkStatus();
  for (const char* key : {"rope_type", "type"}) {
    DTRPO_ASSIGN_OR_RETURN(const auto type, scaling->OptionalString(key));
    if (type.has_value() && *type != "default") {
      return Unsupported(file, absl::StrCat(field, ".", key),
                         absl::StrCat("scaled RoPE '", *type, "' is not supported"));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadRope(const JsonObject& object, ModelConfig* config) {
  for (const char* field : {"rope_scaling", "rope_parameters"}) {
    DTRPO_RETURN_IF_ERROR(RefuseScaledRope(object, config->file, field));
  }
  DTRPO_ASSIGN_OR_RETURN(std::optional<double> theta, object.OptionalNumber("rope_theta", 1, 1e12));
  if (!theta.has_value()) {
    DTRPO_ASSIGN_OR_RETURN(const auto parameters, object.OptionalObject("rope_parameters"));
    if (parameters.has_value()) {
      DTRPO_ASSIGN_OR_RETURN(theta, parameters->OptionalNumber("rope_theta", 1, 1e12));
    }
  }
  if (!theta.has_value()) {
    return object.Invalid("rope_theta", "is missing (also as rope_parameters.rope_theta)");
  }
  config->rope_theta = *theta;
  return absl::OkStatus();
}

// What our forward would silently compute otherwise than the model's authors meant.
absl::Status RefuseOtherArithmetic(const JsonObject& object, const FieldNames& names,
                                   const std::string& file) {
  DTRPO_ASSIGN_OR_RETURN(const auto activation, object.OptionalString(names.activation));
  if (activation.has_value() && *activation != "silu") {
    return Unsupported(file, names.activation, absl::StrCat("'", *activation, "', only silu is"));
  }
  DTRPO_ASSIGN_OR_RETURN(const auto sliding, object.OptionalBool("use_sliding_window"));
  if (sliding.value_or(false)) {
    return Unsupported(file, "use_sliding_window", "sliding windows are not supported");
  }
  if (const json* types = object.Find("layer_types"); types != nullptr && types->is_array()) {
    for (const json& type : *types) {
      if (type != "full_attention") {
        return Unsupported(file, "layer_types", "only full_attention is supported");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status ReadIdentity(const JsonObject& object, ModelConfig* config) {
  DTRPO_ASSIGN_OR_RETURN(const auto model_type, object.OptionalString("model_type"));
  config->model_type = model_type.value_or("");
  if (const json* list = object.Find("architectures"); list != nullptr) {
    if (!list->is_array()) return object.Invalid("architectures", "must be a list of strings");
    for (const json& entry : *list) {
      if (!entry.is_string()) return object.Invalid("architectures", "must be a list of strings");
      config->architectures.push_back(entry.get<std::string>());
    }
  }
  if (config->model_type.empty() && config->architectures.empty()) {
    return object.Invalid("model_type", "is missing, and so is 'architectures'");
  }
  return absl::OkStatus();
}

absl::Status ReadSizes(const JsonObject& object, const FieldNames& names, ModelConfig* config) {
  DTRPO_ASSIGN_OR_RETURN(config->hidden_size, object.Int(names.hidden_size, 1, kMaxSize));
  DTRPO_ASSIGN_OR_RETURN(config->num_hidden_layers, object.Int(names.layers, 1, 4096));
  DTRPO_ASSIGN_OR_RETURN(config->num_attention_heads, object.Int(names.heads, 1, kMaxSize));
  DTRPO_ASSIGN_OR_RETURN(config->num_key_value_heads,
                         object.Int(names.key_value_heads, 1, kMaxSize));
  DTRPO_ASSIGN_OR_RETURN(config->intermediate_size,
                         object.Int(names.intermediate_size, 1, kMaxSize));
  DTRPO_ASSIGN_OR_RETURN(config->vocab_size, object.Int("vocab_size", 2, kMaxTokenId));
  // LLaDA pads its embedding to embedding_size rows; those are the rows of the tensor.
  DTRPO_ASSIGN_OR_RETURN(const auto rows,
                         object.OptionalInt("embedding_size", config->vocab_size, kMaxTokenId));
  if (config->model_type == "llada") config->vocab_size = rows.value_or(config->vocab_size);
  DTRPO_ASSIGN_OR_RETURN(const auto positions,
                         object.OptionalInt(names.max_positions, 1, INT32_MAX));
  config->max_position_embeddings = positions.value_or(0);

  if (config->num_attention_heads % config->num_key_value_heads != 0) {
    return object.Invalid(names.key_value_heads,
                          absl::StrCat("is ", config->num_key_value_heads, ", does not divide ",
                                       names.heads, " = ", config->num_attention_heads));
  }
  DTRPO_ASSIGN_OR_RETURN(const auto head_dim, object.OptionalInt("head_dim", 2, 1 << 16));
  if (!head_dim.has_value() && config->hidden_size % config->num_attention_heads != 0) {
    return object.Invalid(names.heads,
                          absl::StrCat("is ", config->num_attention_heads, ", does not divide ",
                                       names.hidden_size, " = ", config->hidden_size));
  }
  config->head_dim = head_dim.value_or(config->hidden_size / config->num_attention_heads);
  if (config->head_dim % 2 != 0) {
    return object.Invalid("head_dim", absl::StrCat("is ", config->head_dim, ", must be even"));
  }
  return absl::OkStatus();
}

absl::Status ReadTokenFields(const JsonObject& object, ModelConfig* config) {
  DTRPO_ASSIGN_OR_RETURN(const auto mask, object.OptionalInt("mask_token_id", 0, kMaxTokenId));
  config->mask_token_id = mask;
  DTRPO_ASSIGN_OR_RETURN(const auto pad, object.OptionalInt("pad_token_id", 0, kMaxTokenId));
  config->pad_token_id = pad;
  DTRPO_ASSIGN_OR_RETURN(config->eos_token_ids, object.TokenIds("eos_token_id"));
  DTRPO_ASSIGN_OR_RETURN(const auto bd_size, object.OptionalInt("bd_size", 1, 1 << 16));
  config->bd_size = bd_size;
  DTRPO_ASSIGN_OR_RETURN(const auto block_size, object.OptionalInt("block_size", 1, 1 << 16));
  config->block_size = block_size;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view text, const std::string& file) {
  DTRPO_ASSIGN_OR_RETURN(const JsonObject object, JsonObject::Parse(text, file));
  ModelConfig config;
  config.file = file;
  DTRPO_RETURN_IF_ERROR(ReadIdentity(object, &config));
  const FieldNames names = NamesOf(config.model_type);
  DTRPO_RETURN_IF_ERROR(ReadSizes(object, names, &config));
  DTRPO_RETURN_IF_ERROR(ReadRope(object, &config));
  DTRPO_RETURN_IF_ERROR(RefuseOtherArithmetic(object, names, file));
  DTRPO_ASSIGN_OR_RETURN(const auto eps, object.OptionalNumber("rms_norm_eps", 1e-12, 1));
  if (!eps.has_value()) return object.Invalid("rms_norm_eps", "is missing");
  config.rms_norm_eps = *eps;
  DTRPO_ASSIGN_OR_RETURN(const auto range, object.OptionalNumber("initializer_range", 0, 10));
  config.initializer_range = range.value_or(config.initializer_range);
  DTRPO_ASSIGN_OR_RETURN(const auto tied, object.OptionalBool(names.tied));
  config.tie_word_embeddings = tied.value_or(false);
  DTRPO_ASSIGN_OR_RETURN(config.attention_bias, object.OptionalBool(names.attention_bias));
  DTRPO_RETURN_IF_ERROR(ReadTokenFields(object, &config));
  for (const char* field : {"dtype", "torch_dtype"}) {
    DTRPO_ASSIGN_OR_RETURN(const auto dtype, object.OptionalString(field));
    if (dtype.has_value()) config.torch_dtype = *dtype;
  }
  return config;
}

absl::StatusOr<std::string> WithDtype(absl::string_view text, const std::string& file,
                                      absl::string_view dtype) {
  DTRPO_RETURN_IF_ERROR(JsonObject::Parse(text, file).status());
  nlohmann::ordered_json object = nlohmann::ordered_json::parse(text.begin(), text.end());
  // transformers 5 writes "dtype", 4 reads and writes "torch_dtype"; 5 reads both.
  if (object.contains("dtype")) object["dtype"] = std::string(dtype);
  if (object.contains("torch_dtype") || !object.contains("dtype")) {
    object["torch_dtype"] = std::string(dtype);
  }
  return object.dump(2) + "\n";
}

}  // namespace dtrpo::checkpoint

#include "common/checkpoint/adapter_config.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/json_object.h"

namespace dtrpo::checkpoint {
namespace {

// Fields that change what an adapter computes, and that must say no or nothing.
constexpr const char* kMustBeOff[] = {"use_dora",
                                      "use_qalora",
                                      "use_bdlora",
                                      "fan_in_fan_out",
                                      "lora_bias",
                                      "modules_to_save",
                                      "rank_pattern",
                                      "alpha_pattern",
                                      "layer_replication",
                                      "kasa_config",
                                      "velora_config",
                                      "monteclora_config",
                                      "arrow_config",
                                      "target_parameters",
                                      "trainable_token_indices",
                                      "alora_invocation_tokens"};

bool IsOff(const nlohmann::json& value) {
  return value.is_null() || value == false ||
         ((value.is_object() || value.is_array()) && value.empty());
}

// Other ways of beginning put part of the base's weights into the adapter and change the base.
bool LeavesTheBase(const nlohmann::json& init) {
  return init.is_boolean() || init == "gaussian" || init == "orthogonal" || init == "eva";
}

absl::Status CheckComputable(const JsonObject& config) {
  for (const char* field : kMustBeOff) {
    const nlohmann::json* value = config.Find(field);
    if (value != nullptr && !IsOff(*value)) {
      return config.Invalid(field, "isn't supported: only plain LoRA adapters of one rank are");
    }
  }
  DTRPO_ASSIGN_OR_RETURN(const std::optional<std::string> bias, config.OptionalString("bias"));
  if (bias.value_or("none") != "none") {
    return config.Invalid("bias", absl::StrCat("is '", *bias, "'; only 'none' is supported"));
  }
  const nlohmann::json* init = config.Find("init_lora_weights");
  if (init != nullptr && !LeavesTheBase(*init)) {
    return config.Invalid("init_lora_weights", "changes the base model, which isn't supported");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<AdapterConfig> ParseAdapterConfig(absl::string_view json, const std::string& file) {
  DTRPO_ASSIGN_OR_RETURN(const JsonObject object, JsonObject::Parse(json, file));
  DTRPO_ASSIGN_OR_RETURN(const std::optional<std::string> type, object.OptionalString("peft_type"));
  if (type.value_or("") != "LORA") {
    return object.Invalid("peft_type", absl::StrCat("is '", type.value_or(""), "', not 'LORA'"));
  }
  DTRPO_RETURN_IF_ERROR(CheckComputable(object));
  AdapterConfig config;
  DTRPO_ASSIGN_OR_RETURN(config.rank, object.Int("r", 1, 1 << 16));
  DTRPO_ASSIGN_OR_RETURN(const std::optional<double> alpha,
                         object.OptionalNumber("lora_alpha", -1e6, 1e6));
  if (!alpha.has_value()) return object.Invalid("lora_alpha", "is missing");
  config.alpha = *alpha;
  DTRPO_ASSIGN_OR_RETURN(const std::optional<bool> stabilised, object.OptionalBool("use_rslora"));
  const double rank = static_cast<double>(config.rank);
  config.scale = config.alpha / (stabilised.value_or(false) ? std::sqrt(rank) : rank);
  DTRPO_ASSIGN_OR_RETURN(const std::optional<std::string> base,
                         object.OptionalString("base_model_name_or_path"));
  config.base = base.value_or("");
  return config;
}

std::string AdapterConfigJson(const AdapterConfig& config) {
  // PEFT declares lora_alpha as an integer, and works with others too.
  const bool integral = config.alpha == std::floor(config.alpha);
  nlohmann::ordered_json alpha = config.alpha;
  if (integral) alpha = static_cast<int64_t>(config.alpha);
  const nlohmann::ordered_json json = {{"peft_type", "LORA"},
                                       {"task_type", "CAUSAL_LM"},
                                       {"base_model_name_or_path", config.base},
                                       {"r", config.rank},
                                       {"lora_alpha", alpha},
                                       {"lora_dropout", 0.0},
                                       {"target_modules", config.targets},
                                       {"bias", "none"},
                                       {"fan_in_fan_out", false},
                                       {"init_lora_weights", true},
                                       {"modules_to_save", nullptr},
                                       {"use_dora", false},
                                       {"use_rslora", false},
                                       {"inference_mode", true}};
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace dtrpo::checkpoint

// Thread safety: pure functions. No torch, no disk.
//
// adapter_config.json as PEFT (github.com/huggingface/peft) writes it beside a LoRA adapter's
// adapter_model.safetensors, whose tensors are "base_model.model.<module>.lora_A.weight" and
// "...lora_B.weight". Files are hostile: every error names file and field.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace dtrpo::checkpoint {

inline constexpr absl::string_view kAdapterConfigFile = "adapter_config.json";
inline constexpr absl::string_view kAdapterModelFile = "adapter_model.safetensors";
inline constexpr absl::string_view kPeftPrefix = "base_model.model.";

struct AdapterConfig {
  std::string base;  // base_model_name_or_path; may be empty
  int64_t rank = 0;
  double alpha = 0;
  std::vector<std::string> targets;  // modules; empty when read: the tensors tell
  double scale = 0;  // of B A x: alpha / rank, or alpha / sqrt(rank) where the file says so
};

// INVALID_ARGUMENT also for what would compute something else than W x + scale B A x: DoRA, biases,
// whole modules beside the adapters, ranks that differ, another kind of adapter.
absl::StatusOr<AdapterConfig> ParseAdapterConfig(absl::string_view json, const std::string& file);

std::string AdapterConfigJson(const AdapterConfig& config);

}  // namespace dtrpo::checkpoint

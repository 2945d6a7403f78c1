// Thread safety: plain data and pure functions. No torch, no disk.
//
// config.json of a Hugging Face checkpoint as a plain struct, and the rules that make a
// ModelDescriptor of it. Both spellings of a field are read where libraries disagree (LLaDA's
// d_model / n_layers / ..., rope_theta and transformers 5's rope_parameters.rope_theta, torch_dtype
// and dtype). What would change the arithmetic without our knowing it (scaled RoPE, sliding
// windows, other activations) is refused, not ignored.
//
// Errors: INVALID_ARGUMENT "<file>: field '<name>': <what>", UNIMPLEMENTED for what is well-formed
// but not supported.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/checkpoint/model_descriptor.h"

namespace dtrpo::checkpoint {

struct ModelConfig {
  std::string file;  // for messages
  std::string model_type;
  std::vector<std::string> architectures;
  int64_t hidden_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t intermediate_size = 0;
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 0;  // 0: not said
  double rope_theta = 0;
  double rms_norm_eps = 0;
  double initializer_range = 0.02;
  bool tie_word_embeddings = false;
  std::optional<bool> attention_bias;  // attention_bias, or LLaDA's include_qkv_bias
  std::optional<int32_t> bd_size;      // Fast-dLLM-v2's block size
  std::optional<int32_t> block_size;   // SDAR's
  std::optional<int32_t> mask_token_id;
  std::optional<int32_t> pad_token_id;
  std::vector<int32_t> eos_token_ids;  // an int or a list in the file
  std::string torch_dtype;             // "float32", "bfloat16", ...; empty: not said
};

absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view json, const std::string& file);

// What the files beside config.json say.
struct TokenFiles {
  std::optional<int32_t> mask_token_id = {};     // an added token with a known mask's name
  std::vector<int32_t> generation_eos_ids = {};  // generation_config.json
  std::optional<int32_t> generation_pad_id = {};
};

// Explicit values win over every file.
struct DescriptorOverrides {
  std::optional<int32_t> mask_token_id = {};
  std::optional<int32_t> block_size = {};
  std::vector<int32_t> stop_ids = {};  // empty: from the files
};

// Mask id: override, config, added tokens. Stop ids: override, else those of generation_config.json
// and config.json together. Pad: config, generation_config.json, else the first stop id.
absl::StatusOr<ModelDescriptor> DescribeModel(const ModelConfig& config, const TokenFiles& files,
                                              const DescriptorOverrides& overrides);

// Names of the mask among added tokens, in the order they are looked for.
const std::vector<std::string>& KnownMaskTokens();

// Readers of the token files; `file` is for messages. nullopt: no known mask in it.
absl::StatusOr<std::optional<int32_t>> MaskFromAddedTokens(absl::string_view json,
                                                           const std::string& file);
absl::StatusOr<std::optional<int32_t>> MaskFromTokenizerJson(absl::string_view json,
                                                             const std::string& file);
absl::Status ReadGenerationConfig(absl::string_view json, const std::string& file,
                                  TokenFiles* files);

// `json` with torch_dtype (and dtype, if it is there) set, other fields and their order kept: a
// checkpoint whose tensors are written in another type than they were read in must say so, or
// `transformers` casts them on loading.
absl::StatusOr<std::string> WithDtype(absl::string_view json, const std::string& file,
                                      absl::string_view dtype);

}  // namespace dtrpo::checkpoint

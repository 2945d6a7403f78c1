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
  std::optional<int32_t> end_of_turn_id = {};  // what the chat template ends a turn with
};

// Explicit values win over every file.
struct DescriptorOverrides {
  std::optional<int32_t> mask_token_id = {};
  std::optional<int32_t> block_size = {};
  std::vector<int32_t> stop_ids = {};  // empty: from the files
};

// Of the fields of a job's model: 0 and an empty list are not given.
DescriptorOverrides GivenOverrides(int32_t mask_token_id, int32_t block_size,
                                   std::vector<int32_t> stop_ids);

// Mask id: override, config, added tokens. Stop ids: override, else the end of a turn, those of
// generation_config.json and those of config.json, in this order and together; the first is the one
// that answers are taught to end with. Pad: config, generation_config.json, else the first stop id.
absl::StatusOr<ModelDescriptor> DescribeModel(const ModelConfig& config, const TokenFiles& files,
                                              const DescriptorOverrides& overrides);

// Names of the mask among added tokens, in the order they are looked for.
const std::vector<std::string>& KnownMaskTokens();

// Tokens that end a turn in some family's template, in the order they are looked for.
const std::vector<std::string>& EndOfTurnTokens();

// Chat template of a tokenizer_config.json, all of them where it names several; empty: none. `file`
// is for messages, also below.
absl::StatusOr<std::string> ChatTemplateOf(absl::string_view json, const std::string& file);

// Id of the first of `tokens` that the file knows: added_tokens.json {"token": id},
// tokenizer_config.json's added_tokens_decoder, tokenizer.json's added_tokens.
absl::StatusOr<std::optional<int32_t>> IdInAddedTokens(absl::string_view json,
                                                       const std::string& file,
                                                       const std::vector<std::string>& tokens);
absl::StatusOr<std::optional<int32_t>> IdInTokenizerConfig(absl::string_view json,
                                                           const std::string& file,
                                                           const std::vector<std::string>& tokens);
absl::StatusOr<std::optional<int32_t>> IdInTokenizerJson(absl::string_view json,
                                                         const std::string& file,
                                                         const std::vector<std::string>& tokens);

absl::Status ReadGenerationConfig(absl::string_view json, const std::string& file,
                                  TokenFiles* files);

// `json` with torch_dtype (and dtype, if it is there) set, other fields and their order kept: a
// checkpoint whose tensors are written in another type than they were read in must say so, or
// `transformers` casts them on loading.
absl::StatusOr<std::string> WithDtype(absl::string_view json, const std::string& file,
                                      absl::string_view dtype);

}  // namespace dtrpo::checkpoint

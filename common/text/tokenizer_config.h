// Thread safety: plain data and pure functions.
//
// What tokenizer_config.json and added_tokens.json say, as plain structs. Errors are
// INVALID_ARGUMENT "<file>: field '<name>': <what>".
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace dtrpo::text {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = true;
  bool single_word = false;
};

struct TokenizerConfig {
  // "bos_token" -> "<s>", and so on for every "*_token" that is set: templates may use any of them.
  std::map<std::string, std::string> special_tokens;
  std::vector<AddedToken> added_tokens;  // added_tokens_decoder, by id
  // chat_template; of several named ones, "default".
  std::optional<std::string> chat_template;
};

absl::StatusOr<TokenizerConfig> ParseTokenizerConfig(absl::string_view json,
                                                     const std::string& file);

// added_tokens.json, {"token": id}; by id. Like transformers, takes those for special that the
// config names as some "*_token".
absl::StatusOr<std::vector<AddedToken>> ParseAddedTokens(
    absl::string_view json, const std::string& file,
    const std::map<std::string, std::string>& special_tokens);

}  // namespace dtrpo::text

#include "common/text/tokenizer_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace dtrpo::text {
namespace {

using nlohmann::json;

absl::Status Invalid(const std::string& file, absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(file, ": field '", field, "': ", what));
}

absl::StatusOr<json> ParseObject(absl::string_view text, const std::string& file) {
  json parsed;
  try {
    parsed = json::parse(text.begin(), text.end());
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": ", error.what()));
  }
  if (!parsed.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": not a JSON object"));
  }
  return parsed;
}

// A token is written as a string or as {"content": string, ...}; nullopt for null.
absl::StatusOr<std::optional<std::string>> TokenContent(const json& value, const std::string& file,
                                                        const std::string& field) {
  if (value.is_null()) return std::nullopt;
  const json* content = &value;
  if (value.is_object()) {
    const auto found = value.find("content");
    if (found == value.end()) return Invalid(file, field + ".content", "is missing");
    content = &*found;
  }
  if (!content->is_string()) return Invalid(file, field, "must be a string or an added token");
  return content->get<std::string>();
}

absl::StatusOr<bool> Flag(const json& token, const std::string& file, const std::string& prefix,
                          const char* name, bool fallback) {
  const auto found = token.find(name);
  if (found == token.end()) return fallback;
  if (!found->is_boolean()) return Invalid(file, prefix + name, "must be true or false");
  return found->get<bool>();
}

absl::StatusOr<AddedToken> ReadAddedToken(const std::string& id, const json& value,
                                          const std::string& file) {
  const std::string field = "added_tokens_decoder." + id;
  AddedToken token;
  if (!absl::SimpleAtoi(id, &token.id) || token.id < 0) {
    return Invalid(file, field, "the key must be a token id");
  }
  if (!value.is_object()) return Invalid(file, field, "must be an object");
  DTRPO_ASSIGN_OR_RETURN(const auto content, TokenContent(value, file, field));
  if (content->empty()) return Invalid(file, field + ".content", "is empty");
  token.content = *content;
  const std::string prefix = field + ".";
  DTRPO_ASSIGN_OR_RETURN(token.special, Flag(value, file, prefix, "special", false));
  DTRPO_ASSIGN_OR_RETURN(token.lstrip, Flag(value, file, prefix, "lstrip", false));
  DTRPO_ASSIGN_OR_RETURN(token.rstrip, Flag(value, file, prefix, "rstrip", false));
  DTRPO_ASSIGN_OR_RETURN(token.normalized, Flag(value, file, prefix, "normalized", !token.special));
  DTRPO_ASSIGN_OR_RETURN(token.single_word, Flag(value, file, prefix, "single_word", false));
  return token;
}

// A string, or a list of {"name", "template"} of which transformers takes "default".
absl::StatusOr<std::optional<std::string>> ReadChatTemplate(const json& value,
                                                            const std::string& file) {
  if (value.is_null()) return std::nullopt;
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return Invalid(file, "chat_template", "must be a string or a list");
  for (const json& entry : value) {
    if (!entry.is_object() || !entry.contains("name") || !entry.contains("template") ||
        !entry["name"].is_string() || !entry["template"].is_string()) {
      return Invalid(file, "chat_template", "entries must have a name and a template");
    }
    if (entry["name"] == "default") return entry["template"].get<std::string>();
  }
  return Invalid(file, "chat_template", "none of the templates is named 'default'");
}

void SortById(std::vector<AddedToken>* tokens) {
  std::sort(tokens->begin(), tokens->end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
}

}  // namespace

absl::StatusOr<TokenizerConfig> ParseTokenizerConfig(absl::string_view text,
                                                     const std::string& file) {
  DTRPO_ASSIGN_OR_RETURN(const json object, ParseObject(text, file));
  TokenizerConfig config;
  for (const auto& item : object.items()) {
    const std::string& field = item.key();
    const json& value = item.value();
    // add_bos_token and the like are settings, not tokens.
    if (absl::EndsWith(field, "_token") && !value.is_boolean()) {
      DTRPO_ASSIGN_OR_RETURN(const auto content, TokenContent(value, file, field));
      if (content.has_value()) config.special_tokens[field] = *content;
    } else if (field == "added_tokens_decoder") {
      if (!value.is_object()) return Invalid(file, field, "must be an object");
      for (const auto& token : value.items()) {
        DTRPO_ASSIGN_OR_RETURN(AddedToken added, ReadAddedToken(token.key(), token.value(), file));
        config.added_tokens.push_back(std::move(added));
      }
    } else if (field == "chat_template") {
      DTRPO_ASSIGN_OR_RETURN(config.chat_template, ReadChatTemplate(value, file));
    }
  }
  SortById(&config.added_tokens);
  return config;
}

absl::StatusOr<std::vector<AddedToken>> ParseAddedTokens(
    absl::string_view text, const std::string& file,
    const std::map<std::string, std::string>& special_tokens) {
  DTRPO_ASSIGN_OR_RETURN(const json object, ParseObject(text, file));
  std::vector<AddedToken> tokens;
  for (const auto& item : object.items()) {
    if (item.key().empty()) return Invalid(file, item.key(), "the token is empty");
    if (!item.value().is_number_unsigned() || item.value().get<uint64_t>() > INT32_MAX) {
      return Invalid(file, item.key(), "must be a token id");
    }
    AddedToken token;
    token.id = item.value().get<int32_t>();
    token.content = item.key();
    token.special = std::any_of(special_tokens.begin(), special_tokens.end(),
                                [&](const auto& entry) { return entry.second == token.content; });
    token.normalized = !token.special;
    tokens.push_back(std::move(token));
  }
  SortById(&tokens);
  return tokens;
}

}  // namespace dtrpo::text

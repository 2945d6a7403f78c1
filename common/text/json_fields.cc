#include "common/text/json_fields.h"

#include "absl/strings/str_cat.h"

namespace dtrpo::text {

absl::Status BadField(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("field '", field, "': ", what));
}

absl::StatusOr<std::vector<int32_t>> ReadTokens(absl::string_view field, const Json& value,
                                                int64_t vocabulary_size) {
  if (!value.is_array()) return BadField(field, "must be a list of token ids");
  std::vector<int32_t> tokens;
  for (const Json& token : value) {
    if (!token.is_number_integer()) {
      return BadField(field, absl::StrCat(token.dump(), " is not a token id"));
    }
    const int64_t id = token.get<int64_t>();
    if (id < 0 || id >= vocabulary_size) {
      return BadField(
          field, absl::StrCat("token id ", id, " is outside the vocabulary of ", vocabulary_size));
    }
    tokens.push_back(static_cast<int32_t>(id));
  }
  return tokens;
}

absl::Status CheckEncoded(absl::string_view field, absl::Span<const int32_t> tokens,
                          int64_t vocabulary_size) {
  for (const int32_t token : tokens) {
    if (token >= vocabulary_size) {
      return BadField(field, absl::StrCat("the tokenizer gives token id ", token, ", outside the ",
                                          "model's vocabulary of ", vocabulary_size));
    }
  }
  return absl::OkStatus();
}

}  // namespace dtrpo::text

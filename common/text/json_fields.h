// Thread safety: pure functions.
//
// What the readers of JSONL data share. Every error is INVALID_ARGUMENT "field '<name>': <what>".
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "nlohmann/json.hpp"

namespace dtrpo::text {

using Json = nlohmann::ordered_json;  // keeps the order of a message's fields

absl::Status BadField(absl::string_view field, absl::string_view what);

// The value of `field`: token ids in [0, vocabulary_size).
absl::StatusOr<std::vector<int32_t>> ReadTokens(absl::string_view field, const Json& value,
                                                int64_t vocabulary_size);

// What a tokenizer made of `field` may lie outside the model's vocabulary.
absl::Status CheckEncoded(absl::string_view field, absl::Span<const int32_t> tokens,
                          int64_t vocabulary_size);

}  // namespace dtrpo::text

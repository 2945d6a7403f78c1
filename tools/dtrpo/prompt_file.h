// Thread safety: pure functions.
//
// Prompts in JSONL. A line has an id (text or whole number) and one of
//   "prompt": "text"    "messages": [{"role": ..., "content": ...}, ...]    "prompt_tokens": [1, 2]
// Other fields are ignored, empty lines skipped.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/dtrpo/prompt_encoder.h"

namespace dtrpo::tools {

struct Prompt {
  std::string id;
  std::vector<int32_t> tokens;  // not empty
  int64_t line = 0;             // from 1
};

// `content` of `file` (for messages). Every id once, at least one prompt, every token id in
// [0, vocabulary_size). INVALID_ARGUMENT "<file>:<line>: field '<name>': <what>".
absl::StatusOr<std::vector<Prompt>> ParsePrompts(absl::string_view content, const std::string& file,
                                                 const PromptEncoder& encoder,
                                                 int64_t vocabulary_size);

}  // namespace dtrpo::tools

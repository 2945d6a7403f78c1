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
#include "common/text/prompt_encoder.h"

namespace dtrpo::text {

struct Prompt {
  std::string id;
  std::vector<int32_t> tokens;  // not empty
  std::string text;             // without the chat template; of messages the last one's content
  std::string answer;           // a number is taken as it is written; empty unless it was asked for
  int64_t line = 0;             // from 1
};

// One line. `answer_field` names the field that holds the answer; empty: answers aren't read.
// INVALID_ARGUMENT "field '<name>': <what>".
absl::StatusOr<Prompt> ParsePromptLine(absl::string_view line, const PromptEncoder& encoder,
                                       int64_t vocabulary_size, const std::string& answer_field);

// `content` of `file` (for messages). Every id once, at least one prompt, every token id in
// [0, vocabulary_size). INVALID_ARGUMENT "<file>:<line>: field '<name>': <what>".
absl::StatusOr<std::vector<Prompt>> ParsePrompts(absl::string_view content, const std::string& file,
                                                 const PromptEncoder& encoder,
                                                 int64_t vocabulary_size,
                                                 const std::string& answer_field = "");

}  // namespace dtrpo::text

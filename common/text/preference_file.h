// Thread safety: pure functions.
//
// Preference pairs in JSONL, in the layouts that data sets on the hub have. A line is one of
//   "prompt": "text", "chosen": "text", "rejected": "text"
//   "prompt": text or [messages], "chosen": [answer], "rejected": [answer]   messages of a chat
//   "chosen": [messages], "rejected": [messages]    whole conversations that differ in their last
//                                                   message; "prompt" may repeat one of the user's
//   "chosen": "\n\nHuman: ...\n\nAssistant: ...", "rejected": ...   the same as text (hh-rlhf)
//   "prompt_tokens": [1, 2], "chosen_tokens": [3], "rejected_tokens": [4]
// with messages {"role": ..., "content": ...}. Other fields are ignored, empty lines skipped. An
// answer is encoded by itself, as the model will continue its prompt; a stop token at its end may
// be missing.
//
// A line that can't be read is no error, as data sets have such lines: it is listed with its
// reason.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/text/prompt_encoder.h"

namespace dtrpo::text {

struct Preference {
  std::vector<int32_t> prompt_tokens, chosen_tokens, rejected_tokens;  // none is empty
};

struct RejectedLine {
  int64_t line = 0;       // from 1
  std::string reason;     // "field 'chosen': is empty"
  std::string beginning;  // of the line, kBeginningCharacters at most
};
inline constexpr int kBeginningCharacters = 200;

// One line. INVALID_ARGUMENT "field '<name>': <what>".
absl::StatusOr<Preference> ParsePreferenceLine(absl::string_view line, const PromptEncoder& encoder,
                                               int64_t vocabulary_size);

RejectedLine MakeRejectedLine(int64_t number, std::string reason, absl::string_view line);

// One line each: {"line": 7, "reason": "...", "beginning": "..."}.
std::string RejectsJsonl(absl::Span<const RejectedLine> rejects);

}  // namespace dtrpo::text

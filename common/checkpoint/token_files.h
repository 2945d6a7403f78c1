// Thread safety: a function of the files. No torch. Used inside this room only.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/base/file_system.h"
#include "common/checkpoint/model_config.h"

namespace dtrpo::checkpoint {

// What the files beside config.json say of the tokens that sampling needs: the mask, and what ends
// an answer. From generation_config.json, added_tokens.json, tokenizer_config.json,
// chat_template.jinja and tokenizer.json, as far as they are there. The end of a turn is a known
// token's (EndOfTurnTokens) that the chat template writes: LLaDA's and Dream's configs name
// <|endoftext|> alone, their turns end with another one.
absl::StatusOr<TokenFiles> ReadTokenFiles(base::FileSystem* files, const std::string& folder);

}  // namespace dtrpo::checkpoint

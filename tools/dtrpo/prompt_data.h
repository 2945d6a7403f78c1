// Thread safety: pure functions. Prompt files as subcommands read them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/evaluation/question.h"
#include "common/text/prompt_encoder.h"
#include "common/text/prompt_file.h"

namespace dtrpo::tools {

// Prompts of a JSONL file (prompt_file.h); `answer_field` empty: without answers. INVALID_ARGUMENT
// naming file and line for a prompt that leaves no room for max_new_tokens in the model's
// max_position_embeddings.
absl::StatusOr<std::vector<text::Prompt>> ReadPromptFile(const std::string& path,
                                                         const checkpoint::CheckpointFolder& folder,
                                                         const text::PromptEncoder& encoder,
                                                         const std::string& answer_field,
                                                         int32_t max_new_tokens);

// The prompts of an evaluation's questions as tokens, with the same errors, naming the question.
absl::StatusOr<std::vector<std::vector<int32_t>>> EncodeQuestions(
    const std::vector<evaluation::Question>& questions, const std::string& path,
    const checkpoint::CheckpointFolder& folder, const text::PromptEncoder& encoder,
    const std::string& answer_field, int32_t max_new_tokens);

}  // namespace dtrpo::tools

#include "tools/dtrpo/prompt_data.h"

#include "absl/strings/str_cat.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"

namespace dtrpo::tools {

absl::StatusOr<std::vector<text::Prompt>> ReadPromptFile(const std::string& path,
                                                         const checkpoint::CheckpointFolder& folder,
                                                         const text::PromptEncoder& encoder,
                                                         const std::string& answer_field,
                                                         int32_t max_new_tokens) {
  DTRPO_ASSIGN_OR_RETURN(const std::string content, base::PosixFileSystem()->Read(path));
  DTRPO_ASSIGN_OR_RETURN(
      std::vector<text::Prompt> prompts,
      text::ParsePrompts(content, path, encoder, folder.descriptor().vocab_size, answer_field));
  const int64_t limit = folder.config().max_position_embeddings;
  for (const text::Prompt& prompt : prompts) {
    const int64_t length = static_cast<int64_t>(prompt.tokens.size());
    if (limit > 0 && length + max_new_tokens > limit) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ":", prompt.line, ": the prompt is too long: ", length, " tokens and ",
                       max_new_tokens, " new ones exceed ", folder.config().file,
                       "'s max_position_embeddings ", limit));
    }
  }
  return prompts;
}

}  // namespace dtrpo::tools

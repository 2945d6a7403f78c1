#include "tools/dtrpo/prompt_data.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"

namespace dtrpo::tools {

namespace {

absl::Status CheckLength(const text::Prompt& prompt, const checkpoint::CheckpointFolder& folder,
                         int32_t max_new_tokens) {
  const int64_t limit = folder.config().max_position_embeddings;
  const int64_t length = static_cast<int64_t>(prompt.tokens.size());
  if (limit <= 0 || length + max_new_tokens <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "the prompt is too long: ", length, " tokens and ", max_new_tokens, " new ones exceed ",
      folder.config().file, "'s max_position_embeddings ", limit));
}

}  // namespace

absl::StatusOr<std::vector<text::Prompt>> ReadPromptFile(const std::string& path,
                                                         const checkpoint::CheckpointFolder& folder,
                                                         const text::PromptEncoder& encoder,
                                                         const std::string& answer_field,
                                                         int32_t max_new_tokens) {
  DTRPO_ASSIGN_OR_RETURN(const std::string content, base::PosixFileSystem()->Read(path));
  DTRPO_ASSIGN_OR_RETURN(
      std::vector<text::Prompt> prompts,
      text::ParsePrompts(content, path, encoder, folder.descriptor().vocab_size, answer_field));
  for (const text::Prompt& prompt : prompts) {
    DTRPO_RETURN_IF_ERROR(
        base::Annotate(CheckLength(prompt, folder, max_new_tokens), path, ":", prompt.line));
  }
  return prompts;
}

absl::StatusOr<std::vector<std::vector<int32_t>>> EncodeQuestions(
    const std::vector<evaluation::Question>& questions, const std::string& path,
    const checkpoint::CheckpointFolder& folder, const text::PromptEncoder& encoder,
    const std::string& answer_field, int32_t max_new_tokens) {
  std::vector<std::vector<int32_t>> tokens;
  for (const evaluation::Question& question : questions) {
    const std::string where = absl::StrCat(path, ": question '", question.id, "'");
    DTRPO_ASSIGN_OR_RETURN(
        text::Prompt prompt,
        base::Annotate(text::ParsePromptLine(question.line, encoder, folder.descriptor().vocab_size,
                                             answer_field),
                       where));
    DTRPO_RETURN_IF_ERROR(base::Annotate(CheckLength(prompt, folder, max_new_tokens), where));
    tokens.push_back(std::move(prompt.tokens));
  }
  return tokens;
}

}  // namespace dtrpo::tools

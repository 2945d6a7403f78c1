#include "services/coordinator/prompt_file.h"

#include <limits>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/evaluation/question.h"
#include "common/text/prompt_encoder.h"
#include "common/text/prompt_file.h"

namespace dtrpo::coordinator {

absl::StatusOr<PromptCheck> MakePromptCheck(const job::JobSpec& spec) {
  DTRPO_ASSIGN_OR_RETURN(text::PromptEncoder loaded,
                         text::PromptEncoder::Load(spec.model.path, spec.data.apply_chat_template));
  return PromptCheck([encoder = std::make_shared<text::PromptEncoder>(std::move(loaded)),
                      answer_field = spec.data.answer_field,
                      limit = spec.data.max_prompt_tokens](absl::string_view line) -> absl::Status {
    // Whether an id lies in the model's vocabulary is the workers' to check: they have the model.
    constexpr int64_t kAnyToken = std::numeric_limits<int32_t>::max();
    DTRPO_ASSIGN_OR_RETURN(const text::Prompt prompt,
                           text::ParsePromptLine(line, *encoder, kAnyToken, answer_field));
    if (prompt.tokens.size() > static_cast<size_t>(limit)) {
      return absl::InvalidArgumentError(absl::StrCat("the prompt has ", prompt.tokens.size(),
                                                     " tokens; data.max_prompt_tokens is ", limit));
    }
    return absl::OkStatus();
  });
}

namespace {

absl::StatusOr<std::string> ReadBounded(base::FileSystem* files, const std::string& path) {
  DTRPO_ASSIGN_OR_RETURN(const uint64_t size, files->FileSizeBytes(path));
  if (size > kMaxPromptFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": larger than ", kMaxPromptFileBytes, " bytes"));
  }
  return files->Read(path);
}

}  // namespace

absl::StatusOr<PromptLines> ReadPromptFile(base::FileSystem* files, const std::string& path,
                                           const PromptCheck& check) {
  DTRPO_ASSIGN_OR_RETURN(const std::string content, ReadBounded(files, path));
  PromptLines lines;
  absl::string_view rest = content;
  for (int64_t number = 1; !rest.empty(); ++number) {
    const size_t end = rest.find('\n');
    const absl::string_view line = absl::StripAsciiWhitespace(rest.substr(0, end));
    rest = end == absl::string_view::npos ? absl::string_view() : rest.substr(end + 1);
    if (line.empty()) continue;
    if (line.size() > kMaxPromptLineBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ":", number, ": longer than ", kMaxPromptLineBytes, " bytes"));
    }
    DTRPO_RETURN_IF_ERROR(base::Annotate(check(line), path, ":", number));
    lines.emplace_back(line);
  }
  if (lines.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": holds no prompt"));
  return lines;
}

absl::StatusOr<PromptLines> ReadQuestionFile(base::FileSystem* files, const job::JobSpec& spec,
                                             const PromptCheck& check) {
  evaluation::QuestionOptions options;
  options.layout = spec.evaluation.layout;
  options.answer_field = spec.data.answer_field;
  options.seed = spec.seed;
  if (const std::string& path = spec.evaluation.prompt_template; !path.empty()) {
    DTRPO_ASSIGN_OR_RETURN(options.prompt_template,
                           base::Annotate(ReadBounded(files, path), "evaluation.template"));
  }
  const std::string& path = spec.data.heldout;
  DTRPO_ASSIGN_OR_RETURN(const std::string content, ReadBounded(files, path));
  DTRPO_ASSIGN_OR_RETURN(std::vector<evaluation::Question> questions,
                         evaluation::ReadQuestions(content, path, options));
  PromptLines lines;
  for (evaluation::Question& question :
       evaluation::SpreadEvenly(std::move(questions), spec.evaluation.max_prompts)) {
    DTRPO_RETURN_IF_ERROR(
        base::Annotate(check(question.line), path, ": question '", question.id, "'"));
    lines.push_back(std::move(question.line));
  }
  return lines;
}

}  // namespace dtrpo::coordinator

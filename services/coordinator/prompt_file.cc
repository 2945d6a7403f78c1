#include "services/coordinator/prompt_file.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace dtrpo::coordinator {
namespace {

using nlohmann::json;

absl::Status Bad(absl::string_view problem) { return absl::InvalidArgumentError(problem); }

absl::Status CheckMessages(const json& messages) {
  if (!messages.is_array() || messages.empty()) {
    return Bad("field \"messages\" isn't a list of at least one message");
  }
  for (const json& message : messages) {
    const bool fits = message.is_object() && message.contains("role") &&
                      message["role"].is_string() && message.contains("content") &&
                      message["content"].is_string();
    if (!fits) return Bad("field \"messages\": each message needs a text \"role\" and \"content\"");
  }
  return absl::OkStatus();
}

absl::Status CheckTokens(const json& tokens, int32_t max_prompt_tokens) {
  if (!tokens.is_array() || tokens.empty()) {
    return Bad("field \"prompt_tokens\" isn't a list of at least one token id");
  }
  for (const json& token : tokens) {
    if (!token.is_number_unsigned() || token.get<uint64_t>() > INT32_MAX) {
      return Bad(absl::StrCat("field \"prompt_tokens\": ", token.dump(), " isn't a token id"));
    }
  }
  if (tokens.size() > static_cast<size_t>(max_prompt_tokens)) {
    return Bad(absl::StrCat("the prompt has ", tokens.size(), " tokens; data.max_prompt_tokens is ",
                            max_prompt_tokens));
  }
  return absl::OkStatus();
}

absl::Status CheckLine(absl::string_view line, const job::DataSpec& data,
                       const CountTokens& count_tokens) {
  if (line.size() > kMaxPromptLineBytes) {
    return Bad(absl::StrCat("longer than ", kMaxPromptLineBytes, " bytes"));
  }
  const json prompt = json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  if (prompt.is_discarded()) return Bad("not JSON");
  if (!prompt.is_object()) return Bad("not a JSON object");
  const int forms = static_cast<int>(prompt.contains("prompt")) +
                    static_cast<int>(prompt.contains("messages")) +
                    static_cast<int>(prompt.contains("prompt_tokens"));
  if (forms != 1) {
    return Bad("exactly one of the fields \"prompt\", \"messages\", \"prompt_tokens\" is needed");
  }
  if (!prompt.contains(data.answer_field)) {
    return Bad(absl::StrCat("field \"", data.answer_field, "\" (data.answer_field) is missing"));
  }
  const json& answer = prompt[data.answer_field];
  if (!answer.is_string() && !answer.is_number()) {
    return Bad(absl::StrCat("field \"", data.answer_field, "\" is neither a text nor a number"));
  }
  if (prompt.contains("prompt_tokens")) {
    return CheckTokens(prompt["prompt_tokens"], data.max_prompt_tokens);
  }
  if (prompt.contains("messages")) {
    DTRPO_RETURN_IF_ERROR(CheckMessages(prompt["messages"]));
  } else if (!prompt["prompt"].is_string() || prompt["prompt"].get_ref<const std::string&>().empty()) {
    return Bad("field \"prompt\" isn't a text of at least one character");
  }
  if (!count_tokens) return absl::OkStatus();
  DTRPO_ASSIGN_OR_RETURN(const int64_t tokens, count_tokens(prompt));
  if (tokens > data.max_prompt_tokens) {
    return Bad(absl::StrCat("the prompt has ", tokens, " tokens; data.max_prompt_tokens is ",
                            data.max_prompt_tokens));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PromptLines> ReadPromptFile(base::FileSystem* files, const std::string& path,
                                           const job::DataSpec& data,
                                           const CountTokens& count_tokens) {
  DTRPO_ASSIGN_OR_RETURN(const uint64_t size, files->FileSizeBytes(path));
  if (size > kMaxPromptFileBytes) {
    return Bad(absl::StrCat(path, ": larger than ", kMaxPromptFileBytes, " bytes"));
  }
  DTRPO_ASSIGN_OR_RETURN(const std::string content, files->Read(path));
  PromptLines lines;
  absl::string_view rest = content;
  for (int64_t number = 1; !rest.empty(); ++number) {
    const size_t end = rest.find('\n');
    const absl::string_view line = absl::StripAsciiWhitespace(rest.substr(0, end));
    rest = end == absl::string_view::npos ? absl::string_view() : rest.substr(end + 1);
    if (line.empty()) continue;
    DTRPO_RETURN_IF_ERROR(
        base::Annotate(CheckLine(line, data, count_tokens), path, ":", number));
    lines.emplace_back(line);
  }
  if (lines.empty()) return Bad(absl::StrCat(path, ": holds no prompt"));
  return lines;
}

}  // namespace dtrpo::coordinator

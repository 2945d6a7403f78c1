#include "common/text/prompt_file.h"

#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/text/json_fields.h"

namespace dtrpo::text {
namespace {

absl::StatusOr<std::string> ReadId(const Json& record) {
  const auto id = record.find("id");
  if (id == record.end()) return BadField("id", "missing");
  if (id->is_number_integer()) return id->dump();
  if (!id->is_string() || id->get<std::string>().empty()) {
    return BadField("id", "must be a text that isn't empty, or a whole number");
  }
  return id->get<std::string>();
}

absl::StatusOr<std::vector<int32_t>> ReadPromptTokens(const Json& record,
                                                      const PromptEncoder& encoder,
                                                      int64_t vocabulary_size) {
  std::string field;
  for (const char* name : {"prompt", "messages", "prompt_tokens"}) {
    if (!record.contains(name)) continue;
    if (!field.empty()) return BadField(name, absl::StrCat("there is '", field, "' already"));
    field = name;
  }
  if (field.empty()) return BadField("prompt", "missing, as are 'messages' and 'prompt_tokens'");
  const Json& value = record[field];
  absl::StatusOr<std::vector<int32_t>> tokens;
  if (field == "prompt_tokens") {
    DTRPO_ASSIGN_OR_RETURN(tokens, ReadTokens(field, value, vocabulary_size));
  } else if (field == "messages") {
    if (!value.is_array() || value.empty()) return BadField(field, "must be a list of messages");
    tokens = encoder.EncodeMessages(value.dump());
  } else {
    if (!value.is_string()) return BadField(field, "must be a text");
    tokens = encoder.EncodeText(value.get<std::string>());
  }
  if (!tokens.ok()) return BadField(field, tokens.status().message());
  if (tokens->empty()) return BadField(field, "the prompt is empty");
  DTRPO_RETURN_IF_ERROR(CheckEncoded(field, *tokens, vocabulary_size));
  return tokens;
}

// Empty for token ids.
std::string PromptText(const Json& record) {
  const auto prompt = record.find("prompt");
  if (prompt != record.end()) return prompt->get<std::string>();
  const auto messages = record.find("messages");
  return messages == record.end() ? "" : messages->back().value("content", "");
}

absl::StatusOr<std::string> ReadAnswer(const Json& record, const std::string& field) {
  const auto answer = record.find(field);
  if (answer == record.end()) return BadField(field, "missing");
  if (answer->is_string()) return answer->get<std::string>();
  if (answer->is_number()) return answer->dump();
  return BadField(field, "must be a text or a number");
}

}  // namespace

absl::StatusOr<Prompt> ParsePromptLine(absl::string_view line, const PromptEncoder& encoder,
                                       int64_t vocabulary_size, const std::string& answer_field) {
  const Json record = Json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  if (!record.is_object()) return absl::InvalidArgumentError("not a JSON object");
  Prompt prompt;
  DTRPO_ASSIGN_OR_RETURN(prompt.id, ReadId(record));
  DTRPO_ASSIGN_OR_RETURN(prompt.tokens, ReadPromptTokens(record, encoder, vocabulary_size));
  prompt.text = PromptText(record);
  if (!answer_field.empty()) {
    DTRPO_ASSIGN_OR_RETURN(prompt.answer, ReadAnswer(record, answer_field));
  }
  return prompt;
}

absl::StatusOr<std::vector<Prompt>> ParsePrompts(absl::string_view content, const std::string& file,
                                                 const PromptEncoder& encoder,
                                                 int64_t vocabulary_size,
                                                 const std::string& answer_field) {
  std::vector<Prompt> prompts;
  std::map<std::string, int64_t> line_of_id;
  int64_t number = 0;
  for (const absl::string_view line : absl::StrSplit(content, '\n')) {
    ++number;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    const std::string where = absl::StrCat(file, ":", number);
    DTRPO_ASSIGN_OR_RETURN(
        Prompt prompt,
        base::Annotate(ParsePromptLine(line, encoder, vocabulary_size, answer_field), where));
    const auto [first, inserted] = line_of_id.emplace(prompt.id, number);
    if (!inserted) {
      return base::Annotate(
          BadField("id", absl::StrCat("'", prompt.id, "' is also on line ", first->second)), where);
    }
    prompt.line = number;
    prompts.push_back(std::move(prompt));
  }
  if (prompts.empty()) return absl::InvalidArgumentError(absl::StrCat(file, ": no prompts"));
  return prompts;
}

}  // namespace dtrpo::text

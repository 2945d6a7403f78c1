#include "common/text/preference_file.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/json_fields.h"

namespace dtrpo::text {
namespace {

using Tokens = std::vector<int32_t>;

constexpr absl::string_view kHuman = "\n\nHuman:";
constexpr absl::string_view kAssistant = "\n\nAssistant:";

// What the answers of one line go on from, and the answers.
struct Conversation {
  Json messages = Json::array();  // of the prompt
  std::string chosen, rejected;
};

absl::Status CheckMessages(absl::string_view field, const Json& messages) {
  if (messages.empty()) return BadField(field, "has no messages");
  for (const Json& message : messages) {
    for (const char* name : {"role", "content"}) {
      if (!message.is_object() || !message.contains(name) || !message[name].is_string()) {
        return BadField(field, "must be a text, or messages with a text 'role' and 'content'");
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> AnswerOf(absl::string_view field, const Json& messages) {
  const Json& last = messages.back();
  if (last["role"] != "assistant") {
    return BadField(field, absl::StrCat("ends with a message of '", last["role"].get<std::string>(),
                                        "', not of 'assistant'"));
  }
  return last["content"].get<std::string>();
}

Json WithoutLast(const Json& messages) {
  Json beginning = messages;
  beginning.erase(beginning.size() - 1);
  return beginning;
}

// From lists of messages that end with the answer.
absl::StatusOr<Conversation> Split(const Json& chosen, const Json& rejected) {
  DTRPO_RETURN_IF_ERROR(CheckMessages("chosen", chosen));
  DTRPO_RETURN_IF_ERROR(CheckMessages("rejected", rejected));
  Conversation conversation;
  DTRPO_ASSIGN_OR_RETURN(conversation.chosen, AnswerOf("chosen", chosen));
  DTRPO_ASSIGN_OR_RETURN(conversation.rejected, AnswerOf("rejected", rejected));
  conversation.messages = WithoutLast(chosen);
  if (WithoutLast(rejected) != conversation.messages) {
    return BadField("rejected", "differs from 'chosen' before the last message");
  }
  return conversation;
}

// "\n\nHuman: a\n\nAssistant: b" as messages.
absl::StatusOr<Json> MessagesOf(absl::string_view field, absl::string_view text) {
  const std::string padded = absl::StrCat("\n\n", absl::StripAsciiWhitespace(text));
  absl::string_view rest = padded;
  Json messages = Json::array();
  while (!rest.empty()) {
    const bool human = absl::StartsWith(rest, kHuman);
    if (!human && !absl::StartsWith(rest, kAssistant)) {
      return BadField("prompt", absl::StrCat("missing, and '", field,
                                             "' is no conversation that begins with 'Human:'"));
    }
    rest.remove_prefix(human ? kHuman.size() : kAssistant.size());
    const size_t end = std::min(rest.find(kHuman), rest.find(kAssistant));
    messages.push_back({{"role", human ? "user" : "assistant"},
                        {"content", std::string(absl::StripAsciiWhitespace(rest.substr(0, end)))}});
    rest.remove_prefix(std::min(end, rest.size()));
  }
  return messages;
}

absl::StatusOr<Tokens> EncodeAnswer(absl::string_view field, const std::string& text,
                                    const PromptEncoder& encoder, int64_t vocabulary_size) {
  if (encoder.tokenizer() == nullptr) {
    return BadField(field, "is text, but the model's folder has no tokenizer.json");
  }
  auto tokens = encoder.tokenizer()->Encode(text);
  if (!tokens.ok()) return BadField(field, tokens.status().message());
  DTRPO_RETURN_IF_ERROR(CheckEncoded(field, *tokens, vocabulary_size));
  return tokens;
}

// The prompt's messages and, where both are given, what the field says of them.
absl::StatusOr<Tokens> EncodePrompt(const Json* prompt, const Json& messages,
                                    const PromptEncoder& encoder) {
  if (prompt == nullptr || prompt->is_array()) {
    if (prompt != nullptr) DTRPO_RETURN_IF_ERROR(CheckMessages("prompt", *prompt));
    if (prompt != nullptr && !messages.empty() && messages != *prompt) {
      return BadField("prompt", "isn't what 'chosen' and 'rejected' begin with");
    }
    const Json& all = prompt == nullptr ? messages : *prompt;
    if (all.empty()) return BadField("prompt", "missing, and the answers have nothing before them");
    return encoder.EncodeMessages(all.dump());
  }
  if (!prompt->is_string()) return BadField("prompt", "must be a text or messages");
  if (messages.empty()) return encoder.EncodeText(prompt->get<std::string>());
  const auto repeats = [&](const Json& message) {
    return message["role"] == "user" && message["content"] == *prompt;
  };
  if (std::none_of(messages.begin(), messages.end(), repeats)) {
    return BadField("prompt", "is no message of the user in the conversation");
  }
  return encoder.EncodeMessages(messages.dump());
}

absl::StatusOr<Preference> ReadTokenLists(const Json& record, int64_t vocabulary_size) {
  Preference preference;
  for (const auto& [field, tokens] : {std::pair{"prompt_tokens", &preference.prompt_tokens},
                                      std::pair{"chosen_tokens", &preference.chosen_tokens},
                                      std::pair{"rejected_tokens", &preference.rejected_tokens}}) {
    if (!record.contains(field)) return BadField(field, "missing");
    DTRPO_ASSIGN_OR_RETURN(*tokens, ReadTokens(field, record[field], vocabulary_size));
  }
  return preference;
}

absl::StatusOr<Preference> ReadTexts(const Json& record, const PromptEncoder& encoder,
                                     int64_t vocabulary_size) {
  for (const char* field : {"chosen", "rejected"}) {
    if (!record.contains(field)) return BadField(field, "missing");
    if (!record[field].is_string() && !record[field].is_array()) {
      return BadField(field, "must be a text or messages");
    }
  }
  const Json* const prompt = record.contains("prompt") ? &record["prompt"] : nullptr;
  Json chosen = record["chosen"], rejected = record["rejected"];
  if (chosen.is_string() != rejected.is_string()) {
    return BadField("rejected", "must be a text if 'chosen' is one, and messages if it isn't");
  }
  Conversation conversation;
  if (chosen.is_string() && prompt != nullptr) {
    conversation.chosen = chosen.get<std::string>();
    conversation.rejected = rejected.get<std::string>();
  } else {
    if (chosen.is_string()) {
      DTRPO_ASSIGN_OR_RETURN(chosen, MessagesOf("chosen", record["chosen"].get<std::string>()));
      DTRPO_ASSIGN_OR_RETURN(rejected,
                             MessagesOf("rejected", record["rejected"].get<std::string>()));
    }
    DTRPO_ASSIGN_OR_RETURN(conversation, Split(chosen, rejected));
  }
  Preference preference;
  auto tokens = EncodePrompt(prompt, conversation.messages, encoder);
  if (!tokens.ok()) {
    const bool named = absl::StartsWith(tokens.status().message(), "field ");
    return named ? tokens.status() : BadField("prompt", tokens.status().message());
  }
  preference.prompt_tokens = *std::move(tokens);
  DTRPO_RETURN_IF_ERROR(CheckEncoded("prompt", preference.prompt_tokens, vocabulary_size));
  DTRPO_ASSIGN_OR_RETURN(preference.chosen_tokens,
                         EncodeAnswer("chosen", conversation.chosen, encoder, vocabulary_size));
  DTRPO_ASSIGN_OR_RETURN(preference.rejected_tokens,
                         EncodeAnswer("rejected", conversation.rejected, encoder, vocabulary_size));
  return preference;
}

// By code points; a byte that begins none belongs to the one before.
absl::string_view FirstCharacters(absl::string_view text, int count) {
  size_t end = 0;
  for (; end < text.size(); ++end) {
    const bool begins = (static_cast<uint8_t>(text[end]) & 0xC0) != 0x80;
    if (begins && count-- == 0) break;
  }
  return text.substr(0, end);
}

}  // namespace

absl::StatusOr<Preference> ParsePreferenceLine(absl::string_view line, const PromptEncoder& encoder,
                                               int64_t vocabulary_size) {
  const Json record = Json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  if (!record.is_object()) return absl::InvalidArgumentError("not a JSON object");
  bool as_tokens = false, as_text = false;
  for (const char* name : {"prompt", "chosen", "rejected"}) {
    as_text = as_text || record.contains(name);
    as_tokens = as_tokens || record.contains(absl::StrCat(name, "_tokens"));
  }
  if (as_tokens && as_text) {
    return absl::InvalidArgumentError("has fields of text and fields of tokens");
  }
  DTRPO_ASSIGN_OR_RETURN(Preference preference, as_tokens
                                                    ? ReadTokenLists(record, vocabulary_size)
                                                    : ReadTexts(record, encoder, vocabulary_size));
  const std::string suffix = as_tokens ? "_tokens" : "";
  for (const auto& [field, tokens] : {std::pair{"prompt", &preference.prompt_tokens},
                                      std::pair{"chosen", &preference.chosen_tokens},
                                      std::pair{"rejected", &preference.rejected_tokens}}) {
    if (tokens->empty()) return BadField(field + suffix, "is empty");
  }
  return preference;
}

RejectedLine MakeRejectedLine(int64_t number, std::string reason, absl::string_view line) {
  return {number, std::move(reason), std::string(FirstCharacters(line, kBeginningCharacters))};
}

std::string RejectsJsonl(absl::Span<const RejectedLine> rejects) {
  std::string lines;
  for (const RejectedLine& reject : rejects) {
    const Json line = {
        {"line", reject.line}, {"reason", reject.reason}, {"beginning", reject.beginning}};
    absl::StrAppend(&lines, line.dump(-1, ' ', false, Json::error_handler_t::replace), "\n");
  }
  return lines;
}

}  // namespace dtrpo::text

#include "common/text/chat_template.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/text_buffer.h"
#include "common/text/text_ffi.h"
#include "common/text/tokenizer_config.h"

namespace dtrpo::text {
namespace {

// Ordered, because a template may loop over the fields of a message.
using json = nlohmann::ordered_json;

// nullptr when there is nothing wrong with the messages.
const char* FaultOf(const json& messages) {
  if (!messages.is_array() || messages.empty()) return "must be a list of at least one message";
  for (const json& message : messages) {
    if (!message.is_object() || !message.contains("role") || !message["role"].is_string()) {
      return "every message must be an object with a role";
    }
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Load(const std::string& folder,
                                                                 base::FileSystem* files) {
  const std::string config_path = base::JoinPath(folder, "tokenizer_config.json");
  const std::string jinja_path = base::JoinPath(folder, "chat_template.jinja");
  TokenizerConfig config;
  const absl::StatusOr<std::string> config_text = files->Read(config_path);
  if (config_text.ok()) {
    DTRPO_ASSIGN_OR_RETURN(config, ParseTokenizerConfig(*config_text, config_path));
  } else if (!absl::IsNotFound(config_text.status())) {
    return config_text.status();
  }
  const absl::StatusOr<std::string> jinja = files->Read(jinja_path);
  if (jinja.ok()) return FromSource(*jinja, std::move(config.special_tokens), jinja_path);
  if (!absl::IsNotFound(jinja.status())) return jinja.status();
  if (!config.chat_template.has_value()) {
    return absl::NotFoundError(absl::StrCat(
        folder, ": no chat_template.jinja, and no chat_template in tokenizer_config.json"));
  }
  return FromSource(*config.chat_template, std::move(config.special_tokens),
                    config_path + ": field 'chat_template'");
}

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::FromSource(
    absl::string_view source, std::map<std::string, std::string> special_tokens,
    const std::string& file) {
  DtrpoTemplate* handle = nullptr;
  TextBuffer error;
  if (!dtrpo_template_load(source.data(), source.size(), &handle, error.out())) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": ", error.view()));
  }
  return absl::WrapUnique(new ChatTemplate(handle, std::move(special_tokens), file));
}

ChatTemplate::~ChatTemplate() { dtrpo_template_destroy(handle_); }

absl::StatusOr<std::string> ChatTemplate::Render(absl::Span<const ChatMessage> messages,
                                                 const RenderOptions& options) const {
  json list = json::array();
  for (const ChatMessage& message : messages) {
    list.push_back({{"role", message.role}, {"content", message.content}});
  }
  std::string text;
  try {
    text = list.dump();
  } catch (const json::exception& error) {  // the only cause: a string that is not UTF-8
    return absl::InvalidArgumentError(absl::StrCat("messages: ", error.what()));
  }
  return RenderJson(text, options);
}

absl::StatusOr<std::string> ChatTemplate::RenderJson(absl::string_view messages_json,
                                                     const RenderOptions& options) const {
  json context = json::object();
  for (const auto& [name, token] : special_tokens_) context[name] = token;
  try {
    context["messages"] = json::parse(messages_json.begin(), messages_json.end());
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("messages: ", error.what()));
  }
  if (const char* fault = FaultOf(context["messages"]); fault != nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("messages: ", fault));
  }
  context["add_generation_prompt"] = options.add_generation_prompt;
  // Defined and none, as transformers passes them: templates ask "if tools".
  context["tools"] = nullptr;
  context["documents"] = nullptr;
  const std::string text = context.dump();
  TextBuffer rendered, error;
  if (!dtrpo_template_render(handle_, text.data(), text.size(), absl::ToUnixSeconds(options.now),
                             rendered.out(), error.out())) {
    return absl::InvalidArgumentError(absl::StrCat(file_, ": ", error.view()));
  }
  return rendered.str();
}

}  // namespace dtrpo::text

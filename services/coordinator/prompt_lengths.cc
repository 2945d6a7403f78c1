#include "services/coordinator/prompt_lengths.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/chat_template.h"
#include "common/text/tokenizer.h"
#include "nlohmann/json.hpp"

namespace dtrpo::coordinator {
namespace {

using nlohmann::json;

CountTokens RefuseTexts(const std::string& path, const char* what) {
  return [message = absl::StrCat("a prompt given as text needs a ", what, ", and ", path,
                                 " has none")](const json&) -> absl::StatusOr<int64_t> {
    return absl::InvalidArgumentError(message);
  };
}

}  // namespace

absl::StatusOr<CountTokens> MakeTokenCounter(base::FileSystem* files, const job::JobSpec& spec) {
  auto loaded = text::Tokenizer::Load(spec.model.path, files);
  if (absl::IsNotFound(loaded.status())) return RefuseTexts(spec.model.path, "tokenizer");
  DTRPO_RETURN_IF_ERROR(loaded.status());
  const std::shared_ptr<text::Tokenizer> tokenizer = *std::move(loaded);

  std::shared_ptr<text::ChatTemplate> chat;
  auto loaded_chat = text::ChatTemplate::Load(spec.model.path, files);
  if (loaded_chat.ok()) {
    chat = *std::move(loaded_chat);
  } else if (!absl::IsNotFound(loaded_chat.status())) {
    return loaded_chat.status();
  } else if (spec.data.apply_chat_template) {
    return RefuseTexts(spec.model.path, "chat template (data.apply_chat_template)");
  }

  const bool wrap = spec.data.apply_chat_template;
  return CountTokens([tokenizer, chat, wrap](const json& prompt) -> absl::StatusOr<int64_t> {
    std::string text;
    if (prompt.contains("messages")) {
      if (chat == nullptr) {
        return absl::InvalidArgumentError("field \"messages\" needs a chat template");
      }
      DTRPO_ASSIGN_OR_RETURN(text, chat->RenderJson(prompt["messages"].dump()));
    } else if (wrap) {
      const text::ChatMessage user = {.role = "user", .content = prompt["prompt"]};
      DTRPO_ASSIGN_OR_RETURN(text, chat->Render({&user, 1}));
    } else {
      text = prompt["prompt"];
    }
    DTRPO_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer->Encode(text));
    return static_cast<int64_t>(ids.size());
  });
}

}  // namespace dtrpo::coordinator

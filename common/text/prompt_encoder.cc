#include "common/text/prompt_encoder.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace dtrpo::text {
namespace {

// A missing file leaves `out` null.
template <typename T>
absl::Status LoadIfThere(absl::StatusOr<std::unique_ptr<T>> loaded, std::unique_ptr<T>* out) {
  if (absl::IsNotFound(loaded.status())) return absl::OkStatus();
  DTRPO_ASSIGN_OR_RETURN(*out, std::move(loaded));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PromptEncoder> PromptEncoder::Load(const std::string& folder, bool wrap_text) {
  PromptEncoder encoder;
  encoder.folder_ = folder;
  encoder.wrap_text_ = wrap_text;
  DTRPO_RETURN_IF_ERROR(LoadIfThere(Tokenizer::Load(folder), &encoder.tokenizer_));
  if (encoder.tokenizer_) {
    DTRPO_RETURN_IF_ERROR(LoadIfThere(ChatTemplate::Load(folder), &encoder.chat_template_));
  }
  return encoder;
}

absl::Status PromptEncoder::CheckTokenizer() const {
  if (tokenizer_) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("text needs a tokenizer, but ", folder_, " has no tokenizer.json"));
}

absl::Status PromptEncoder::CheckChatTemplate() const {
  if (tokenizer_ && chat_template_) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("messages need a tokenizer and a chat template, but ", folder_, " has no ",
                   tokenizer_ ? "chat template" : "tokenizer.json"));
}

absl::StatusOr<std::vector<int32_t>> PromptEncoder::EncodeText(const std::string& text) const {
  if (!wrap_text_ || !chat_template_) return EncodeRaw(text);
  const ChatMessage message{"user", text};
  return EncodeChat({&message, 1});
}

absl::StatusOr<std::vector<int32_t>> PromptEncoder::EncodeRaw(const std::string& text) const {
  DTRPO_RETURN_IF_ERROR(CheckTokenizer());
  return tokenizer_->Encode(text, /*add_special=*/true);
}

absl::StatusOr<std::vector<int32_t>> PromptEncoder::EncodeChat(
    absl::Span<const ChatMessage> messages) const {
  DTRPO_RETURN_IF_ERROR(CheckChatTemplate());
  DTRPO_ASSIGN_OR_RETURN(const std::string rendered, chat_template_->Render(messages));
  return tokenizer_->Encode(rendered);
}

absl::StatusOr<std::vector<int32_t>> PromptEncoder::EncodeMessages(
    absl::string_view messages_json) const {
  DTRPO_RETURN_IF_ERROR(CheckChatTemplate());
  DTRPO_ASSIGN_OR_RETURN(const std::string rendered, chat_template_->RenderJson(messages_json));
  return tokenizer_->Encode(rendered);
}

absl::StatusOr<std::string> PromptEncoder::Decode(absl::Span<const int32_t> tokens) const {
  if (!tokenizer_) return std::string();
  return tokenizer_->Decode(tokens);
}

}  // namespace dtrpo::text

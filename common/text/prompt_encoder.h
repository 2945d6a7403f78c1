// Thread safety: immutable after Load(); Encode and Decode may run on many threads at once.
//
// Text and token ids of one checkpoint folder. A folder without tokenizer files is fine as long as
// nobody asks for text.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/text/chat_template.h"
#include "common/text/tokenizer.h"

namespace dtrpo::text {

class PromptEncoder {
 public:
  // `wrap_text`: a text prompt becomes the one user message of the folder's chat template, where it
  // has one, as jobs do it. Otherwise texts are encoded as they are.
  static absl::StatusOr<PromptEncoder> Load(const std::string& folder, bool wrap_text);

  absl::StatusOr<std::vector<int32_t>> EncodeText(const std::string& text) const;
  // As it is, whatever `wrap_text` says.
  absl::StatusOr<std::vector<int32_t>> EncodeRaw(const std::string& text) const;
  // `messages_json`: a list of {"role", "content"} objects.
  absl::StatusOr<std::vector<int32_t>> EncodeMessages(absl::string_view messages_json) const;
  absl::StatusOr<std::vector<int32_t>> EncodeChat(absl::Span<const ChatMessage> messages) const;
  // Empty without a tokenizer.
  absl::StatusOr<std::string> Decode(absl::Span<const int32_t> tokens) const;
  // Null without tokenizer files; lives as long as the encoder.
  const Tokenizer* tokenizer() const { return tokenizer_.get(); }

 private:
  PromptEncoder() = default;
  absl::Status CheckTokenizer() const;
  absl::Status CheckChatTemplate() const;

  std::string folder_;
  bool wrap_text_ = true;
  std::unique_ptr<Tokenizer> tokenizer_;         // null: no tokenizer files
  std::unique_ptr<ChatTemplate> chat_template_;  // null: no template
};

}  // namespace dtrpo::text

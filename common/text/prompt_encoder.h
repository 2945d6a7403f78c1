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
  // `messages_json`: a list of {"role", "content"} objects.
  absl::StatusOr<std::vector<int32_t>> EncodeMessages(absl::string_view messages_json) const;
  // Empty without a tokenizer.
  absl::StatusOr<std::string> Decode(absl::Span<const int32_t> tokens) const;

 private:
  PromptEncoder() = default;

  std::string folder_;
  bool wrap_text_ = true;
  std::unique_ptr<Tokenizer> tokenizer_;         // null: no tokenizer files
  std::unique_ptr<ChatTemplate> chat_template_;  // null: no template
};

}  // namespace dtrpo::text

// Thread safety: immutable after loading; Render() may run on many threads at once.
//
// The chat template of a Hugging Face model folder, rendered as transformers'
// apply_chat_template(tokenize=False) does (crate minijinja, behind text_ffi.h):
// chat_template.jinja if it is there, else chat_template of tokenizer_config.json.
//
// Errors name the file; a template that refuses a conversation (raise_exception) is
// INVALID_ARGUMENT with the template's own words. NOT_FOUND: the folder has no template.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/base/file_system.h"

struct DtrpoTemplate;

namespace dtrpo::text {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

struct RenderOptions {
  bool add_generation_prompt = true;
  // What strftime_now() shows, in UTC. Fixed unless set, so that a prompt's tokens don't depend on
  // the day they were made.
  absl::Time now = absl::UnixEpoch();
};

class ChatTemplate {
 public:
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Load(
      const std::string& folder, base::FileSystem* files = base::PosixFileSystem());
  // `special_tokens` as of Tokenizer::special_tokens(); `file` is for messages.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> FromSource(
      absl::string_view source, std::map<std::string, std::string> special_tokens,
      const std::string& file);
  ~ChatTemplate();
  ChatTemplate(const ChatTemplate&) = delete;
  ChatTemplate& operator=(const ChatTemplate&) = delete;

  absl::StatusOr<std::string> Render(absl::Span<const ChatMessage> messages,
                                     const RenderOptions& options = {}) const;
  // `messages_json`: a JSON list of objects with at least a role, for messages with more fields
  // than ChatMessage has.
  absl::StatusOr<std::string> RenderJson(absl::string_view messages_json,
                                         const RenderOptions& options = {}) const;

 private:
  ChatTemplate(DtrpoTemplate* handle, std::map<std::string, std::string> special_tokens,
               std::string file)
      : handle_(handle), special_tokens_(std::move(special_tokens)), file_(std::move(file)) {}

  DtrpoTemplate* const handle_;  // owned
  const std::map<std::string, std::string> special_tokens_;
  const std::string file_;
};

}  // namespace dtrpo::text

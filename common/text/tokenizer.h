// Thread safety: immutable after Load(); const methods may run on many threads at once.
// A StreamDecoder belongs to one thread and must not outlive its Tokenizer.
//
// The tokenizer of a Hugging Face model folder, with the same ids as `transformers`: tokenizer.json
// does the work (crate `tokenizers`, behind text_ffi.h), tokenizer_config.json names the special
// tokens, and tokens of its added_tokens_decoder or of added_tokens.json that tokenizer.json lacks
// are added at the ids those files give them.
//
// Errors name the file and the field. NOT_FOUND: no tokenizer.json, which is legal for a folder
// whose prompts are token ids.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/file_system.h"

struct DtrpoTokenizer;

namespace dtrpo::text {

class Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(
      const std::string& folder, base::FileSystem* files = base::PosixFileSystem());
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Special tokens written in `text` ("<|im_end|>") become their single id, as in transformers.
  // `add_special`: also what the tokenizer puts around a text (e.g. a leading BOS); a rendered chat
  // template has these already. INVALID_ARGUMENT when `text` is not UTF-8.
  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text,
                                              bool add_special = false) const;

  // Ids beyond the tokenizer's vocabulary (spare rows of the embedding) decode to nothing, an
  // incomplete character to U+FFFD. INVALID_ARGUMENT for a negative id.
  absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids, bool skip_special = true) const;

  // nullopt: not a token.
  std::optional<int32_t> TokenId(absl::string_view token) const;
  // As in the vocabulary, byte-level spelling included ("Ġthe"). nullopt: not a token's id.
  std::optional<std::string> TokenText(int32_t id) const;
  // With added tokens; the model's embedding may have more rows.
  int64_t vocab_size() const;

  // "bos_token", "eos_token", "pad_token", ... -> the token; what is not set is not there.
  const std::map<std::string, std::string>& special_tokens() const { return special_tokens_; }
  // Id of special_tokens()[name]; nullopt when it is not set.
  std::optional<int32_t> SpecialTokenId(const std::string& name) const;

 private:
  explicit Tokenizer(DtrpoTokenizer* handle) : handle_(handle) {}

  DtrpoTokenizer* const handle_;  // owned
  std::map<std::string, std::string> special_tokens_;
};

// Text of a growing sequence, without half characters: a character whose bytes are spread over
// several tokens comes out with its last token. The pieces put together equal Decode() of all ids.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer* tokenizer, bool skip_special = true)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}

  // The text that `id` completes; often empty.
  absl::StatusOr<std::string> Append(int32_t id);
  // What is left, an incomplete character as U+FFFD. The decoder is as new afterwards.
  absl::StatusOr<std::string> Flush();

 private:
  absl::StatusOr<std::string> Next(bool flush);

  const Tokenizer* const tokenizer_;
  const bool skip_special_;
  // Decoders may look one token back (a leading blank is dropped at the start only), so a few ids
  // whose text is out already stay as context: [0, emitted_) of ids_.
  std::vector<int32_t> ids_;
  size_t emitted_ = 0;
};

}  // namespace dtrpo::text

#include "common/text/tokenizer.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/text_buffer.h"
#include "common/text/text_ffi.h"
#include "common/text/tokenizer_config.h"

namespace dtrpo::text {
namespace {

using base::JoinPath;

constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// Adds what tokenizer.json lacks, lowest id first, and checks that each token has the id that the
// file says: a model's embedding rows depend on it.
absl::Status AddTokens(DtrpoTokenizer* handle, const std::vector<AddedToken>& tokens,
                       const std::string& file) {
  for (const AddedToken& token : tokens) {
    uint32_t id = 0;
    if (!dtrpo_tokenizer_token_to_id(handle, token.content.data(), token.content.size(), &id)) {
      TextBuffer error;
      if (!dtrpo_tokenizer_add_token(handle, token.content.data(), token.content.size(),
                                     token.special, token.lstrip, token.rstrip, token.normalized,
                                     token.single_word, &id, error.out())) {
        return absl::InvalidArgumentError(
            absl::StrCat(file, ": field '", token.content, "': ", error.view()));
      }
    }
    if (id != static_cast<uint32_t>(token.id)) {
      return absl::InvalidArgumentError(absl::StrCat(file, ": field '", token.content, "': has id ",
                                                     token.id, ", but tokenizer.json makes it ",
                                                     id));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& folder,
                                                           base::FileSystem* files) {
  const std::string main_path = JoinPath(folder, "tokenizer.json");
  DTRPO_ASSIGN_OR_RETURN(const std::string json, files->Read(main_path));
  DtrpoTokenizer* handle = nullptr;
  TextBuffer error;
  if (!dtrpo_tokenizer_load(json.data(), json.size(), &handle, error.out())) {
    return absl::InvalidArgumentError(absl::StrCat(main_path, ": ", error.view()));
  }
  auto tokenizer = absl::WrapUnique(new Tokenizer(handle));

  const std::string config_path = JoinPath(folder, "tokenizer_config.json");
  DTRPO_ASSIGN_OR_RETURN(const auto config_text, base::ReadIfThere(files, config_path));
  if (config_text.has_value()) {
    DTRPO_ASSIGN_OR_RETURN(TokenizerConfig config, ParseTokenizerConfig(*config_text, config_path));
    DTRPO_RETURN_IF_ERROR(AddTokens(handle, config.added_tokens, config_path));
    tokenizer->special_tokens_ = std::move(config.special_tokens);
  }
  const std::string added_path = JoinPath(folder, "added_tokens.json");
  DTRPO_ASSIGN_OR_RETURN(const auto added_text, base::ReadIfThere(files, added_path));
  if (added_text.has_value()) {
    DTRPO_ASSIGN_OR_RETURN(const auto added,
                           ParseAddedTokens(*added_text, added_path, tokenizer->special_tokens_));
    DTRPO_RETURN_IF_ERROR(AddTokens(handle, added, added_path));
  }
  return tokenizer;
}

Tokenizer::~Tokenizer() { dtrpo_tokenizer_destroy(handle_); }

absl::StatusOr<std::vector<int32_t>> Tokenizer::Encode(absl::string_view text,
                                                       bool add_special) const {
  TextBuffer ids, error;
  if (!dtrpo_tokenizer_encode(handle_, text.data(), text.size(), add_special, ids.out(),
                              error.out())) {
    return absl::InvalidArgumentError(absl::StrCat("cannot encode: ", error.view()));
  }
  return ids.ids();
}

absl::StatusOr<std::string> Tokenizer::Decode(absl::Span<const int32_t> ids,
                                              bool skip_special) const {
  for (const int32_t id : ids) {
    if (id < 0) return absl::InvalidArgumentError(absl::StrCat("cannot decode token id ", id));
  }
  TextBuffer text, error;
  // Same size and alignment; no id is negative.
  if (!dtrpo_tokenizer_decode(handle_, reinterpret_cast<const uint32_t*>(ids.data()), ids.size(),
                              skip_special, text.out(), error.out())) {
    return absl::InternalError(absl::StrCat("cannot decode: ", error.view()));
  }
  return text.str();
}

std::optional<int32_t> Tokenizer::TokenId(absl::string_view token) const {
  uint32_t id = 0;
  if (!dtrpo_tokenizer_token_to_id(handle_, token.data(), token.size(), &id)) return std::nullopt;
  return static_cast<int32_t>(id);
}

std::optional<std::string> Tokenizer::TokenText(int32_t id) const {
  TextBuffer token;
  if (id < 0 || !dtrpo_tokenizer_id_to_token(handle_, static_cast<uint32_t>(id), token.out())) {
    return std::nullopt;
  }
  return token.str();
}

int64_t Tokenizer::vocab_size() const {
  return static_cast<int64_t>(dtrpo_tokenizer_vocab_size(handle_));
}

std::optional<int32_t> Tokenizer::SpecialTokenId(const std::string& name) const {
  const auto found = special_tokens_.find(name);
  return found == special_tokens_.end() ? std::nullopt : TokenId(found->second);
}

absl::StatusOr<std::string> StreamDecoder::Append(int32_t id) {
  ids_.push_back(id);
  return Next(/*flush=*/false);
}

absl::StatusOr<std::string> StreamDecoder::Flush() {
  absl::StatusOr<std::string> rest = Next(/*flush=*/true);
  ids_.clear();
  emitted_ = 0;
  return rest;
}

absl::StatusOr<std::string> StreamDecoder::Next(bool flush) {
  const absl::Span<const int32_t> ids = ids_;
  DTRPO_ASSIGN_OR_RETURN(const std::string before,
                         tokenizer_->Decode(ids.first(emitted_), skip_special_));
  DTRPO_ASSIGN_OR_RETURN(const std::string all, tokenizer_->Decode(ids, skip_special_));
  if (all.size() <= before.size()) return std::string();
  // The last character may go on in the next token.
  if (!flush && absl::EndsWith(all, kReplacement)) return std::string();
  std::string fresh = all.substr(before.size());
  // Keep what was emitted just now as the context of the next piece, drop what was before it.
  ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(emitted_));
  emitted_ = ids_.size();
  return fresh;
}

}  // namespace dtrpo::text

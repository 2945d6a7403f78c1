#include "common/checkpoint/token_files.h"

#include <utility>

#include "absl/strings/match.h"
#include "common/base/status_macros.h"

namespace dtrpo::checkpoint {
namespace {

// Looks tokens up in a folder's files, the large tokenizer.json last.
class TokenLookup {
 public:
  TokenLookup(base::FileSystem* files, std::string folder)
      : files_(files), folder_(std::move(folder)) {}

  absl::StatusOr<std::optional<int32_t>> IdOf(const std::vector<std::string>& tokens) const {
    for (const auto& [name, reader] : {std::pair{"added_tokens.json", &IdInAddedTokens},
                                       std::pair{"tokenizer_config.json", &IdInTokenizerConfig},
                                       std::pair{"tokenizer.json", &IdInTokenizerJson}}) {
      const std::string path = base::JoinPath(folder_, name);
      DTRPO_ASSIGN_OR_RETURN(const auto text, base::ReadIfThere(files_, path));
      if (!text.has_value()) continue;
      DTRPO_ASSIGN_OR_RETURN(const std::optional<int32_t> id, reader(*text, path, tokens));
      if (id.has_value()) return id;
    }
    return std::nullopt;
  }

 private:
  base::FileSystem* const files_;
  const std::string folder_;
};

absl::StatusOr<std::string> ReadChatTemplate(base::FileSystem* files, const std::string& folder) {
  DTRPO_ASSIGN_OR_RETURN(const auto own,
                         base::ReadIfThere(files, base::JoinPath(folder, "chat_template.jinja")));
  if (own.has_value()) return *own;
  const std::string path = base::JoinPath(folder, "tokenizer_config.json");
  DTRPO_ASSIGN_OR_RETURN(const auto config, base::ReadIfThere(files, path));
  if (!config.has_value()) return std::string();
  return ChatTemplateOf(*config, path);
}

}  // namespace

absl::StatusOr<TokenFiles> ReadTokenFiles(base::FileSystem* files, const std::string& folder) {
  TokenFiles tokens;
  const std::string generation = base::JoinPath(folder, "generation_config.json");
  DTRPO_ASSIGN_OR_RETURN(const auto text, base::ReadIfThere(files, generation));
  if (text.has_value()) DTRPO_RETURN_IF_ERROR(ReadGenerationConfig(*text, generation, &tokens));
  const TokenLookup lookup(files, folder);
  DTRPO_ASSIGN_OR_RETURN(tokens.mask_token_id, lookup.IdOf(KnownMaskTokens()));
  DTRPO_ASSIGN_OR_RETURN(const std::string chat_template, ReadChatTemplate(files, folder));
  for (const std::string& token : EndOfTurnTokens()) {
    if (tokens.end_of_turn_id.has_value() || !absl::StrContains(chat_template, token)) continue;
    DTRPO_ASSIGN_OR_RETURN(tokens.end_of_turn_id, lookup.IdOf({token}));
  }
  return tokens;
}

}  // namespace dtrpo::checkpoint

// The files that make a tokenizer and a chat template, hostile all together: each is refused with a
// file's name or works. The Rust crates behind common/text/text_ffi.h have no coverage marks, so
// the corpus holds one small file for each kind of what they read.
//
// An input is tokenizer.json, tokenizer_config.json, added_tokens.json and chat_template.jinja with
// a line "===" between them; what is empty or not there is no file.
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "common/base/check.h"
#include "common/base/memory_file_system.h"
#include "common/text/chat_template.h"
#include "common/text/tokenizer.h"

namespace dtrpo::text {
namespace {

constexpr absl::string_view kFiles[] = {"tokenizer.json", "tokenizer_config.json",
                                        "added_tokens.json", "chat_template.jinja"};

template <typename T>
bool IsOkOrNamesAFile(const absl::StatusOr<T>& loaded) {
  if (!loaded.ok()) {
    DTRPO_CHECK(absl::StrContains(loaded.status().message(),
                                  absl::IsNotFound(loaded.status()) ? "m" : "m/"))
        << loaded.status().message();
  }
  return loaded.ok();
}

void UseTokenizer(const Tokenizer& tokenizer, absl::string_view more) {
  for (const absl::string_view text : {absl::string_view("a b\xc3\xa9<x>\n12"), more}) {
    const auto ids = tokenizer.Encode(text, /*add_special=*/true);
    if (!ids.ok()) continue;
    for (const int32_t id : *ids) DTRPO_CHECK(id >= 0);
    const auto whole = tokenizer.Decode(*ids, /*skip_special=*/false);
    StreamDecoder stream(&tokenizer, /*skip_special=*/false);
    for (const int32_t id : *ids) stream.Append(id).IgnoreError();
    stream.Flush().IgnoreError();
    whole.IgnoreError();
  }
  for (const auto& [name, token] : tokenizer.special_tokens()) tokenizer.SpecialTokenId(name);
  for (const int32_t id : {0, 1, 300, INT32_MAX}) tokenizer.TokenText(id);
}

void CheckOne(absl::string_view input) {
  base::MemoryFileSystem files;
  DTRPO_CHECK_OK(files.MakeDirectories("m"));
  const std::vector<absl::string_view> parts = absl::StrSplit(input, "\n===\n");
  for (size_t i = 0; i < parts.size() && i < 4; ++i) {
    if (parts[i].empty()) continue;
    auto file = files.Create(base::JoinPath("m", kFiles[i]));
    DTRPO_CHECK_OK(file);
    DTRPO_CHECK_OK((*file)->Append(parts[i]));
  }
  const auto tokenizer = Tokenizer::Load("m", &files);
  if (IsOkOrNamesAFile(tokenizer)) UseTokenizer(**tokenizer, parts.back().substr(0, 64));
  const auto chat_template = ChatTemplate::Load("m", &files);
  if (!IsOkOrNamesAFile(chat_template)) return;
  const std::vector<ChatMessage> messages = {{"system", "Be brief."}, {"user", "a <x> b"}};
  (*chat_template)->Render(messages).IgnoreError();
}

}  // namespace
}  // namespace dtrpo::text

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  dtrpo::text::CheckOne({reinterpret_cast<const char*>(data), size});
  return 0;
}

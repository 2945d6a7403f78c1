// Any text as config.json is either refused with the file's name or makes a valid descriptor; the
// readers of the token files never fail otherwise than by a status.
#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "common/base/check.h"
#include "common/checkpoint/model_config.h"

namespace dtrpo::checkpoint {
namespace {

template <typename T>
void CheckNamesFile(const absl::StatusOr<T>& result) {
  if (result.ok()) return;
  DTRPO_CHECK(absl::StartsWith(result.status().message(), "config.json: "))
      << result.status().message();
}

void CheckOne(const std::string& text) {
  const std::string file = "config.json";
  CheckNamesFile(IdInAddedTokens(text, file, KnownMaskTokens()));
  CheckNamesFile(IdInTokenizerConfig(text, file, EndOfTurnTokens()));
  CheckNamesFile(IdInTokenizerJson(text, file, KnownMaskTokens()));
  CheckNamesFile(ChatTemplateOf(text, file));
  TokenFiles tokens;
  ReadGenerationConfig(text, file, &tokens).IgnoreError();
  const auto config = ParseModelConfig(text, file);
  CheckNamesFile(config);
  if (!config.ok()) return;
  const auto changed = WithDtype(text, file, "float32");
  DTRPO_CHECK(changed.ok()) << changed.status().message();
  DTRPO_CHECK(ParseModelConfig(*changed, file).ok()) << *changed;
  const auto descriptor = DescribeModel(*config, tokens, {.mask_token_id = 1});
  CheckNamesFile(descriptor);
  if (descriptor.ok()) DTRPO_CHECK(Validate(*descriptor).ok());
}

}  // namespace
}  // namespace dtrpo::checkpoint

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  dtrpo::checkpoint::CheckOne(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}

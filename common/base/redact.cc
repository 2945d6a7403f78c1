#include "common/base/redact.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace dtrpo::base {
namespace {

constexpr char kHidden[] = "***";
constexpr absl::string_view kPassword = "password";

// Where the value that begins at `begin` ends: a quoted one behind its quote, another one before
// white space or the next parameter of a URI.
size_t EndOfValue(absl::string_view text, size_t begin) {
  if (begin < text.size() && text[begin] == '\'') {
    for (size_t i = begin + 1; i < text.size(); ++i) {
      if (text[i] == '\\') {
        ++i;
      } else if (text[i] == '\'') {
        return i + 1;
      }
    }
    return text.size();
  }
  for (size_t i = begin; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (absl::ascii_isspace(text[i]) || text[i] == '&' || text[i] == '"') {
      return i;
    }
  }
  return text.size();
}

std::string HideParameters(absl::string_view text) {
  std::string shown;
  size_t i = 0;
  while (i < text.size()) {
    if (!absl::StartsWithIgnoreCase(text.substr(i), kPassword)) {
      shown += text[i++];
      continue;
    }
    const size_t end_of_name = i + kPassword.size();
    const size_t equals = std::min(text.find_first_not_of(" \t\r\n", end_of_name), text.size());
    if (equals == text.size() || text[equals] != '=') {
      absl::StrAppend(&shown, text.substr(i, kPassword.size()));
      i = end_of_name;
      continue;
    }
    const size_t begin = std::min(text.find_first_not_of(" \t\r\n", equals + 1), text.size());
    absl::StrAppend(&shown, text.substr(i, begin - i), kHidden);
    i = EndOfValue(text, begin);
  }
  return shown;
}

std::string HideUserInformation(absl::string_view text) {
  constexpr absl::string_view kSlashes = "://";
  std::string shown;
  for (size_t i = 0;;) {
    const size_t slashes = text.find(kSlashes, i);
    if (slashes == absl::string_view::npos) return absl::StrCat(shown, text.substr(i));
    const size_t begin = slashes + kSlashes.size();
    const size_t end = std::min(text.find_first_of(" \t\r\n\"", begin), text.size());
    const absl::string_view address = text.substr(begin, end - begin);
    const size_t at = address.rfind('@'), colon = address.find(':');
    if (at == absl::string_view::npos || colon > at) {
      absl::StrAppend(&shown, text.substr(i, end - i));
    } else {
      absl::StrAppend(&shown, text.substr(i, begin + colon + 1 - i), kHidden, address.substr(at));
    }
    i = end;
  }
}

}  // namespace

std::string HideSecrets(absl::string_view text) {
  return HideUserInformation(HideParameters(text));
}

}  // namespace dtrpo::base

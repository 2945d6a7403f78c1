// What may be shown of a text that holds passwords. Thread-safe: pure functions.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace dtrpo::base {

// The text with "***" in place of each password of a connection string, "password=..." (quoted or
// not) or "scheme://user:...@host". Hides too much rather than too little.
std::string HideSecrets(absl::string_view text);

}  // namespace dtrpo::base

// Thread safety: pure functions.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace dtrpo::reward {

// The number that a text ends with: the first one after its last "####" (the mark of GSM8K), else
// its last one. Integers and decimals, with thousands separators in their places ("1,234,567.5"),
// with a minus sign unless the sign follows a letter, a digit or a closing bracket ("3-5" ends with
// 5). Written canonically, so that equal numbers are equal texts: "-1234.5", no zeros to strip, no
// "-0". Nothing when there is none.
std::optional<std::string> FinalNumber(absl::string_view text);

}  // namespace dtrpo::reward

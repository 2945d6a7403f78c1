// Thread safety: pure functions.
#pragma once

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/reward/verifier.h"

namespace dtrpo::reward {

// Multiple choice: `argument` holds the letters (default "ABCD", at most 26, capitals). The
// expected answer must name one of them.
absl::StatusOr<std::unique_ptr<Verifier>> MakeChoiceVerifier(absl::string_view argument);

// The letter of 'A' to `last` that a text chooses; first rule that fits, and its last place in the
// text: after "####"; in \boxed{}; after "answer", "choice" or "option" (is, :) when the letter
// ends a clause, so that "Answer: A bird" names none; the text is the letter alone, or begins with
// "B)" or "B."; in brackets "(B)". Nothing when none fits.
std::optional<char> ChosenLetter(absl::string_view text, char last);

}  // namespace dtrpo::reward

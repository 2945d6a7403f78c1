// Thread safety: pure functions.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/reward/verifier.h"

namespace re2 {
class RE2;
}

namespace dtrpo::reward {

// Multiple choice: `argument` holds the letters (default "ABCD", at most 26, capitals). The
// expected answer must name one of them.
absl::StatusOr<std::unique_ptr<Verifier>> MakeChoiceVerifier(absl::string_view argument);

// Reads the letter of 'A' to `last` that a text chooses; first rule that fits, and its last place
// in the text: after "####"; in \boxed{}; after "answer", "choice" or "option" (is, :) when the
// letter ends a clause, so that "Answer: A bird" names none; the text is the letter alone, or
// begins with "B)" or "B."; in brackets "(B)". Nothing when none fits.
class LetterReader {
 public:
  explicit LetterReader(char last);
  ~LetterReader();

  char last() const { return last_; }
  std::optional<char> Read(absl::string_view text) const;

 private:
  const char last_;
  std::vector<std::unique_ptr<re2::RE2>> patterns_;  // of the rules, in their order
};

}  // namespace dtrpo::reward

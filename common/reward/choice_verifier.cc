#include "common/reward/choice_verifier.h"

#include <re2/re2.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace dtrpo::reward {
namespace {

// % stands for the letters.
constexpr absl::string_view kRules[] = {
    R"(####\s*\(?([%])\b)",
    R"(\\boxed\{\s*(?:\\text(?:bf)?\{)?\s*\(?([%])\)?\s*\}?\s*\})",
    R"((?i:answer|choice|option)(?i:\s+is)?\s*[:=]?\s*(?:\*\*|_)?\(?([%])(?:\)|\*\*|_|[.,:;]|\s*$|\s*\n|\s+(?i:because|since|as|and|but)\b))",
    R"(^\s*\(?([%%])\)?[.:]?\s*$)",
    R"(^\s*\(?([%])[).:]\s)",
    R"(\(([%])\))",
};

class ChoiceVerifier : public Verifier {
 public:
  explicit ChoiceVerifier(char last) : letter_(last) {}

  absl::Status CheckExpected(absl::string_view expected) const override {
    if (letter_.Read(expected)) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("verifier 'choice': the expected answer ",
                                                   Quoted(expected), " names no letter of A to ",
                                                   std::string(1, letter_.last())));
  }

  Judgement JudgeFinished(const Answer& answer, absl::string_view expected) const override {
    const std::optional<char> got = letter_.Read(answer.text);
    if (!got) return {0, false, absl::StrCat(Quoted(answer.text), " chooses no letter")};
    const char right = *letter_.Read(expected);
    if (*got == right) return {1, true, "correct"};
    return {0, false,
            absl::StrCat("chooses ", std::string(1, *got), ", not ", std::string(1, right))};
  }

 private:
  const LetterReader letter_;
};

}  // namespace

LetterReader::LetterReader(char last) : last_(last) {
  const std::string capitals = absl::StrCat("A-", std::string(1, last));
  const std::string both = absl::StrCat(capitals, absl::AsciiStrToLower(capitals));
  for (const absl::string_view rule : kRules) {
    patterns_.push_back(
        std::make_unique<RE2>(absl::StrReplaceAll(rule, {{"%%", both}, {"%", capitals}})));
  }
}

LetterReader::~LetterReader() = default;

std::optional<char> LetterReader::Read(absl::string_view text) const {
  for (const std::unique_ptr<RE2>& pattern : patterns_) {
    re2::StringPiece rest(text.data(), text.size());
    std::string letter;
    bool found = false;
    while (RE2::FindAndConsume(&rest, *pattern, &letter)) found = true;
    if (found) return absl::ascii_toupper(static_cast<unsigned char>(letter[0]));
  }
  return std::nullopt;
}

absl::StatusOr<std::unique_ptr<Verifier>> MakeChoiceVerifier(absl::string_view argument) {
  const absl::string_view letters = argument.empty() ? "ABCD" : argument;
  bool in_order = letters.size() >= 2 && letters.size() <= 26;
  for (size_t i = 0; i < letters.size(); ++i) {
    in_order = in_order && letters[i] == static_cast<char>('A' + i);
  }
  if (!in_order) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'choice' needs the letters from A on, as in choice:ABCDE, not '", argument, "'"));
  }
  return std::make_unique<ChoiceVerifier>(letters.back());
}

}  // namespace dtrpo::reward

#include "common/reward/text_verifiers.h"

#include <re2/re2.h>

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/reward/number.h"

namespace dtrpo::reward {
namespace {

constexpr char kExpectedMark[] = "{expected}";
constexpr size_t kMaxPatternBytes = 4096;

Judgement Compare(bool same, absl::string_view got, absl::string_view expected) {
  if (same) return {1, true, "correct"};
  return {0, false, absl::StrCat(Quoted(got), " is not ", Quoted(expected))};
}

class ExactVerifier : public Verifier {
 public:
  absl::Status CheckExpected(absl::string_view) const override { return absl::OkStatus(); }
  Judgement JudgeFinished(const Answer& answer, absl::string_view expected) const override {
    const absl::string_view got = absl::StripAsciiWhitespace(answer.text);
    const absl::string_view right = absl::StripAsciiWhitespace(expected);
    return Compare(got == right, got, right);
  }
};

class NormalisedVerifier : public Verifier {
 public:
  // What has no letters after normalisation would be equal to any other such text.
  absl::Status CheckExpected(absl::string_view expected) const override {
    if (!Normalised(expected).empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("verifier 'normalised': nothing is left of the "
                     "expected answer ",
                     Quoted(expected)));
  }
  Judgement JudgeFinished(const Answer& answer, absl::string_view expected) const override {
    const std::string got = Normalised(answer.text), right = Normalised(expected);
    return Compare(got == right, got, right);
  }
};

class NumberVerifier : public Verifier {
 public:
  absl::Status CheckExpected(absl::string_view expected) const override {
    if (FinalNumber(expected)) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("verifier 'number': the expected answer ",
                                                   Quoted(expected), " holds no number"));
  }
  Judgement JudgeFinished(const Answer& answer, absl::string_view expected) const override {
    const std::optional<Number> got = FinalNumber(answer.text);
    if (!got) return {0, false, "no number in the answer"};
    const std::optional<Number> right = FinalNumber(expected);
    return Compare(SameNumber(*got, *right), got->text, right->text);
  }
};

RE2::Options PatternOptions() {
  RE2::Options options;
  options.set_log_errors(false);
  return options;
}

class RegexVerifier : public Verifier {
 public:
  explicit RegexVerifier(std::string pattern)
      : pattern_(std::move(pattern)),
        uses_expected_(pattern_.find(kExpectedMark) != std::string::npos) {
    if (!uses_expected_) compiled_ = std::make_unique<RE2>(pattern_, PatternOptions());
  }

  absl::Status CheckExpected(absl::string_view expected) const override {
    if (!uses_expected_) return absl::OkStatus();
    const RE2 compiled(For(expected), PatternOptions());
    if (compiled.ok()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("verifier 'regex': with the expected answer ",
                                                   Quoted(expected),
                                                   " the pattern isn't one: ", compiled.error()));
  }

  Judgement JudgeFinished(const Answer& answer, absl::string_view expected) const override {
    const re2::StringPiece text(answer.text.data(), answer.text.size());
    const bool matches = uses_expected_
                             ? RE2::PartialMatch(text, RE2(For(expected), PatternOptions()))
                             : RE2::PartialMatch(text, *compiled_);
    if (matches) return {1, true, "matches"};
    return {0, false, absl::StrCat(Quoted(answer.text), " doesn't match ", Quoted(pattern_))};
  }

 private:
  std::string For(absl::string_view expected) const {
    const std::string literal = RE2::QuoteMeta(re2::StringPiece(expected.data(), expected.size()));
    return absl::StrReplaceAll(pattern_, {{kExpectedMark, literal}});
  }

  const std::string pattern_;
  const bool uses_expected_;
  std::unique_ptr<RE2> compiled_;
};

}  // namespace

absl::Status NoArgument(absl::string_view rule, absl::string_view argument) {
  if (argument.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("'", rule, "' takes nothing behind a colon, not '", argument, "'"));
}

std::string Normalised(absl::string_view text) {
  std::string bare;
  for (const char c : text) {
    if (!absl::ascii_ispunct(static_cast<unsigned char>(c))) {
      bare.push_back(absl::ascii_tolower(static_cast<unsigned char>(c)));
    }
  }
  std::vector<absl::string_view> kept;
  for (const absl::string_view word :
       absl::StrSplit(bare, absl::ByAnyChar(" \t\r\n\v\f"), absl::SkipEmpty())) {
    if (word != "a" && word != "an" && word != "the") kept.push_back(word);
  }
  return absl::StrJoin(kept, " ");
}

absl::StatusOr<std::unique_ptr<Verifier>> MakeExactVerifier(absl::string_view argument) {
  DTRPO_RETURN_IF_ERROR(NoArgument("exact", argument));
  return std::make_unique<ExactVerifier>();
}

absl::StatusOr<std::unique_ptr<Verifier>> MakeNormalisedVerifier(absl::string_view argument) {
  DTRPO_RETURN_IF_ERROR(NoArgument("normalised", argument));
  return std::make_unique<NormalisedVerifier>();
}

absl::StatusOr<std::unique_ptr<Verifier>> MakeNumberVerifier(absl::string_view argument) {
  DTRPO_RETURN_IF_ERROR(NoArgument("number", argument));
  return std::make_unique<NumberVerifier>();
}

absl::StatusOr<std::unique_ptr<Verifier>> MakeRegexVerifier(absl::string_view argument) {
  if (argument.empty() || argument.size() > kMaxPatternBytes) {
    return absl::InvalidArgumentError(absl::StrCat("'regex' needs a pattern of 1 to ",
                                                   kMaxPatternBytes, " bytes, as in regex:^\\d+$"));
  }
  std::string pattern(argument);
  const RE2 probe(absl::StrReplaceAll(pattern, {{kExpectedMark, "x"}}), PatternOptions());
  if (!probe.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'regex': '", pattern, "' is no pattern: ", probe.error()));
  }
  return std::make_unique<RegexVerifier>(std::move(pattern));
}

}  // namespace dtrpo::reward

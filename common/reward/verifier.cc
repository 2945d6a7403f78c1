#include "common/reward/verifier.h"

#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/reward/choice_verifier.h"
#include "common/reward/json_verifier.h"
#include "common/reward/shaping_verifiers.h"
#include "common/reward/text_verifiers.h"

namespace dtrpo::reward {
namespace {

constexpr size_t kQuotedBytes = 80;
constexpr size_t kMaxTerms = 32;

using Made = absl::StatusOr<std::unique_ptr<Verifier>>;

struct Rule {
  const char* name;
  Made (*make)(absl::string_view argument);
};

constexpr Rule kRules[] = {
    {"exact", MakeExactVerifier},   {"normalised", MakeNormalisedVerifier},
    {"number", MakeNumberVerifier}, {"choice", MakeChoiceVerifier},
    {"regex", MakeRegexVerifier},   {"json_schema", MakeJsonVerifier},
    {"length", MakeLengthVerifier}, {"tags", MakeTagsVerifier},
};

struct Term {
  double weight = 1;
  std::string rule;
  std::unique_ptr<Verifier> verifier;
};

absl::StatusOr<Term> ParseTerm(const std::string& text) {
  Term term;
  absl::string_view rule = absl::StripAsciiWhitespace(text);
  const size_t star = rule.find('*');
  if (star != absl::string_view::npos && absl::SimpleAtod(rule.substr(0, star), &term.weight)) {
    rule = absl::StripLeadingAsciiWhitespace(rule.substr(star + 1));
  }
  if (!std::isfinite(term.weight) || std::abs(term.weight) > 1e6) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "': the weight must be a number"));
  }
  term.rule = std::string(rule);
  DTRPO_ASSIGN_OR_RETURN(term.verifier, Verifier::Create(rule));
  return term;
}

class SumVerifier : public Verifier {
 public:
  explicit SumVerifier(std::vector<Term> terms) : terms_(std::move(terms)) {}

  absl::Status CheckExpected(absl::string_view expected) const override {
    for (const Term& term : terms_) {
      DTRPO_RETURN_IF_ERROR(term.verifier->CheckExpected(expected));
    }
    return absl::OkStatus();
  }

  Judgement JudgeFinished(const Answer& answer, absl::string_view expected) const override {
    Judgement sum;
    bool all_correct = true, any_opinion = false;
    for (const Term& term : terms_) {
      const Judgement part = term.verifier->JudgeFinished(answer, expected);
      sum.reward += term.weight * part.reward;
      if (!term.verifier->IsShaping()) {
        any_opinion = true;
        all_correct = all_correct && part.correct;
      }
      absl::StrAppend(&sum.reason, sum.reason.empty() ? "" : "; ", term.rule, " ", part.reward,
                      ": ", part.reason);
    }
    sum.correct = any_opinion ? all_correct : sum.reward > 0;
    return sum;
  }

 private:
  const std::vector<Term> terms_;
};

}  // namespace

const char kVerifierRules[] =
    "exact: the same text but for blanks at its ends; normalised: without case, punctuation, "
    "articles (SQuAD); number: equal numbers, after ####, in \\boxed{} or the last one; "
    "choice[:ABCD]: the chosen letter; regex:PATTERN: matches somewhere (RE2), {expected} stands "
    "for the expected answer; json_schema:SCHEMA: JSON that fits; length:MIN..MAX: tokens; "
    "tags:NAME[,NAME]: <NAME>...</NAME> once each, in order, nothing outside";

std::string Quoted(absl::string_view text) {
  return absl::StrCat("'", text.substr(0, kQuotedBytes), text.size() > kQuotedBytes ? "...'" : "'");
}

absl::StatusOr<Judgement> Verifier::Judge(const Answer& answer, absl::string_view expected) const {
  DTRPO_RETURN_IF_ERROR(CheckExpected(expected));
  if (!answer.finished) return Judgement{0, false, "no stop token"};
  return JudgeFinished(answer, expected);
}

absl::StatusOr<std::unique_ptr<Verifier>> Verifier::Create(absl::string_view rule) {
  const size_t colon = rule.find(':');
  const absl::string_view name = rule.substr(0, colon);
  const absl::string_view argument =
      colon == absl::string_view::npos ? absl::string_view() : rule.substr(colon + 1);
  std::string known;
  for (const Rule& entry : kRules) {
    if (name == entry.name) return entry.make(argument);
    absl::StrAppend(&known, known.empty() ? "'" : ", '", entry.name, "'");
  }
  return absl::InvalidArgumentError(absl::StrCat("'", name, "' is none of ", known));
}

absl::StatusOr<std::unique_ptr<Verifier>> Verifier::CreateSum(absl::Span<const std::string> terms) {
  if (terms.empty() || terms.size() > kMaxTerms) {
    return absl::InvalidArgumentError(
        absl::StrCat(terms.size(), " terms are outside [1, ", kMaxTerms, "]"));
  }
  std::vector<Term> made;
  for (const std::string& text : terms) {
    DTRPO_ASSIGN_OR_RETURN(Term term, ParseTerm(text));
    made.push_back(std::move(term));
  }
  return std::make_unique<SumVerifier>(std::move(made));
}

}  // namespace dtrpo::reward

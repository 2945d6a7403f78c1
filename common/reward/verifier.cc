#include "common/reward/verifier.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/reward/choice_verifier.h"
#include "common/reward/json_verifier.h"
#include "common/reward/shaping_verifiers.h"
#include "common/reward/text_verifiers.h"

namespace dtrpo::reward {
namespace {

constexpr size_t kQuotedBytes = 80;

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

}  // namespace dtrpo::reward

#include "common/reward/verifier.h"

#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/reward/final_number.h"

namespace dtrpo::reward {
namespace {

constexpr size_t kQuotedBytes = 80;  // of an answer, in a reason

std::string Quoted(absl::string_view text) {
  return absl::StrCat("'", text.substr(0, kQuotedBytes), text.size() > kQuotedBytes ? "...'" : "'");
}

Judgement Unfinished() { return {0, "no stop token"}; }

Judgement Compare(absl::string_view got, absl::string_view expected) {
  if (got == expected) return {1, "correct"};
  return {0, absl::StrCat(Quoted(got), " is not ", Quoted(expected))};
}

class ExactVerifier : public Verifier {
 public:
  absl::StatusOr<Judgement> Judge(absl::string_view text, absl::string_view expected,
                                  bool finished) const override {
    if (!finished) return Unfinished();
    return Compare(absl::StripAsciiWhitespace(text), absl::StripAsciiWhitespace(expected));
  }
};

class NumberVerifier : public Verifier {
 public:
  absl::StatusOr<Judgement> Judge(absl::string_view text, absl::string_view expected,
                                  bool finished) const override {
    const std::optional<std::string> right = FinalNumber(expected);
    if (!right) {
      return absl::InvalidArgumentError(absl::StrCat("verifier 'number': the expected answer ",
                                                     Quoted(expected), " holds no number"));
    }
    if (!finished) return Unfinished();
    const std::optional<std::string> got = FinalNumber(text);
    if (!got) return Judgement{0, "no number in the answer"};
    return Compare(*got, *right);
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<Verifier>> Verifier::Create(absl::string_view name) {
  if (name == "exact") return std::make_unique<ExactVerifier>();
  if (name == "number") return std::make_unique<NumberVerifier>();
  return absl::InvalidArgumentError(
      absl::StrCat("reward.verifier: '", name, "' is none of 'exact', 'number'"));
}

}  // namespace dtrpo::reward

#include "common/reward/judge.h"

#include <cmath>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace dtrpo::reward {
namespace {

constexpr size_t kMaxTerms = 32;
constexpr double kMaxWeight = 1e6;

// What was said so far of one item.
struct Sum {
  absl::Status status;
  Judgement judgement;
  bool all_right = true;
};

}  // namespace

struct Judge::Part {
  Term term;
  std::unique_ptr<Verifier> verifier;  // null: a service's
};

Term ParseTerm(absl::string_view text) {
  text = absl::StripAsciiWhitespace(text);
  const size_t star = text.find('*');
  Term term;
  if (star != absl::string_view::npos && absl::SimpleAtod(text.substr(0, star), &term.weight)) {
    text = absl::StripLeadingAsciiWhitespace(text.substr(star + 1));
  }
  term.rule = std::string(text);
  return term;
}

absl::string_view ServiceReward(absl::string_view rule) {
  return absl::ConsumePrefix(&rule, "service:") ? rule : absl::string_view();
}

Judge::Judge(std::vector<Part> parts, RemoteReward* remote)
    : parts_(std::move(parts)), remote_(remote) {}

Judge::~Judge() = default;

absl::Status Judge::Check(absl::Span<const Term> terms) {
  if (terms.empty() || terms.size() > kMaxTerms) {
    return absl::InvalidArgumentError(
        absl::StrCat(terms.size(), " terms are outside [1, ", kMaxTerms, "]"));
  }
  for (const Term& term : terms) {
    if (!std::isfinite(term.weight) || std::abs(term.weight) > kMaxWeight) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", term.rule, "': the weight must be a number up to ", kMaxWeight));
    }
    if (!ServiceReward(term.rule).empty()) continue;
    DTRPO_RETURN_IF_ERROR(Verifier::Create(term.rule).status());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Judge>> Judge::Create(std::vector<Term> terms,
                                                     RemoteReward* remote) {
  DTRPO_RETURN_IF_ERROR(Check(terms));
  std::vector<Part> parts;
  for (Term& term : terms) {
    Part& part = parts.emplace_back();
    part.term = std::move(term);
    if (ServiceReward(part.term.rule).empty()) {
      DTRPO_ASSIGN_OR_RETURN(part.verifier, Verifier::Create(part.term.rule));
    } else if (remote == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", part.term.rule, "' needs the address of a reward service"));
    }
  }
  return std::unique_ptr<Judge>(new Judge(std::move(parts), remote));
}

Judgements Judge::JudgeAll(absl::Span<const AnsweredQuestion> items,
                           const KeepGoing& keep_going) const {
  std::vector<Sum> sums(items.size());
  const bool plain = parts_.size() == 1 && parts_.front().term.weight == 1;
  const bool only_shaping = absl::c_all_of(parts_, [](const Part& part) {
    return part.verifier != nullptr && part.verifier->IsShaping();
  });
  for (const Part& part : parts_) {
    std::vector<size_t> asked;  // an item that has failed already isn't judged any more
    for (size_t i = 0; i < items.size(); ++i) {
      if (sums[i].status.ok()) asked.push_back(i);
    }
    Judgements judgements;
    if (part.verifier != nullptr) {
      for (size_t i : asked) {
        judgements.push_back(part.verifier->Judge(items[i].answer, items[i].question->expected));
      }
    } else {
      std::vector<AnsweredQuestion> of_service;
      for (size_t i : asked) of_service.push_back(items[i]);
      judgements =
          remote_->JudgeAll(std::string(ServiceReward(part.term.rule)), of_service, keep_going);
      DTRPO_CHECK_EQ(judgements.size(), of_service.size());
    }
    const bool has_say = part.verifier == nullptr || !part.verifier->IsShaping();
    for (size_t k = 0; k < asked.size(); ++k) {
      Sum& sum = sums[asked[k]];
      if (!judgements[k].ok()) {
        sum.status = judgements[k].status();
        continue;
      }
      const Judgement& judged = *judgements[k];
      if (plain) {
        sum.judgement = judged;
        continue;
      }
      sum.judgement.reward += part.term.weight * judged.reward;
      if (has_say) sum.all_right = sum.all_right && judged.correct;
      absl::StrAppend(&sum.judgement.reason, sum.judgement.reason.empty() ? "" : "; ",
                      part.term.rule, " ", judged.reward, ": ", judged.reason);
    }
  }
  Judgements results;
  for (Sum& sum : sums) {
    if (!sum.status.ok()) {
      results.push_back(std::move(sum.status));
      continue;
    }
    if (!std::isfinite(sum.judgement.reward)) {
      results.push_back(
          absl::AbortedError(absl::StrCat("the sum is ", sum.judgement.reward, ", no number")));
      continue;
    }
    if (!plain) sum.judgement.correct = only_shaping ? sum.judgement.reward > 0 : sum.all_right;
    results.push_back(std::move(sum.judgement));
  }
  return results;
}

bool Judge::asks_service() const {
  return absl::c_any_of(parts_, [](const Part& part) { return part.verifier == nullptr; });
}

}  // namespace dtrpo::reward

#include "common/evaluation/comparison.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"

namespace dtrpo::evaluation {
namespace {

using Json = nlohmann::ordered_json;

struct Answers {
  std::vector<std::string> order;  // of the questions
  std::map<std::string, std::vector<const JudgedAnswer*>> by_question;
};

std::vector<std::string> PoliciesOf(const Run& run) {
  std::vector<std::string> policies;
  for (const JudgedAnswer& answer : run.answers) {
    if (std::find(policies.begin(), policies.end(), answer.unmask) == policies.end()) {
      policies.push_back(answer.unmask);
    }
  }
  return policies;
}

Answers AnswersOf(const Run& run, const std::string& unmask) {
  Answers answers;
  for (const JudgedAnswer& answer : run.answers) {
    if (answer.unmask != unmask) continue;
    auto& list = answers.by_question[answer.id];
    if (list.empty()) answers.order.push_back(answer.id);
    list.push_back(&answer);
  }
  return answers;
}

double ShareRight(const std::vector<const JudgedAnswer*>& answers) {
  const auto right = std::count_if(answers.begin(), answers.end(),
                                   [](const JudgedAnswer* answer) { return answer->correct; });
  return static_cast<double>(right) / static_cast<double>(answers.size());
}

const JudgedAnswer& First(const std::vector<const JudgedAnswer*>& answers) {
  return **std::min_element(answers.begin(), answers.end(),
                            [](const auto* x, const auto* y) { return x->sample < y->sample; });
}

CategoryDifference DifferenceOf(const std::string& category,
                                const std::vector<const ComparedQuestion*>& questions,
                                uint64_t seed) {
  std::vector<double> a, b;
  for (const ComparedQuestion* question : questions) {
    a.push_back(question->a);
    b.push_back(question->b);
  }
  return {category, MeanWithInterval(a, 1).value, MeanWithInterval(b, 1).value,
          ComparePaired(a, b, seed)};
}

absl::StatusOr<PolicyComparison> ComparePolicies(const Run& run_a, const Run& run_b,
                                                 const std::string& unmask_a,
                                                 const std::string& unmask_b, uint64_t seed) {
  PolicyComparison result;
  result.unmask_a = unmask_a;
  result.unmask_b = unmask_b;
  const Answers a = AnswersOf(run_a, unmask_a);
  const Answers b = AnswersOf(run_b, unmask_b);
  for (const std::string& id : a.order) {
    const auto other = b.by_question.find(id);
    if (other == b.by_question.end()) {
      ++result.only_in_a;
      continue;
    }
    ComparedQuestion question;
    question.id = id;
    question.answer_a = First(a.by_question.at(id));
    question.answer_b = First(other->second);
    if (question.answer_a.expected != question.answer_b.expected) {
      return absl::FailedPreconditionError(
          absl::StrCat("question '", id, "' expects '", question.answer_a.expected, "' in ",
                       run_a.folder, " and '", question.answer_b.expected, "' in ", run_b.folder,
                       ": the runs are of different data"));
    }
    question.a = ShareRight(a.by_question.at(id));
    question.b = ShareRight(other->second);
    if (question.b > question.a) question.flip = Flip::kGained;
    if (question.b < question.a) question.flip = Flip::kLost;
    result.gained += question.flip == Flip::kGained ? 1 : 0;
    result.lost += question.flip == Flip::kLost ? 1 : 0;
    result.questions.push_back(std::move(question));
  }
  result.only_in_b =
      static_cast<int64_t>(b.order.size()) - static_cast<int64_t>(result.questions.size());
  if (result.questions.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("no question was answered with ", unmask_a,
                                                      " in ", run_a.folder, " and with ", unmask_b,
                                                      " in ", run_b.folder));
  }
  std::vector<const ComparedQuestion*> all;
  std::map<std::string, std::vector<const ComparedQuestion*>> by_category;
  for (const ComparedQuestion& question : result.questions) {
    all.push_back(&question);
    for (const std::string& category : question.answer_a.categories) {
      by_category[category].push_back(&question);
    }
  }
  result.differences.push_back(DifferenceOf("", all, seed));
  for (const auto& [category, questions] : by_category) {
    result.differences.push_back(DifferenceOf(category, questions, seed));
  }
  return result;
}

double TokensPerForward(const std::vector<ComparedQuestion>& questions,
                        JudgedAnswer ComparedQuestion::*side) {
  double tokens = 0, forwards = 0;
  for (const ComparedQuestion& question : questions) {
    tokens += static_cast<double>((question.*side).tokens);
    forwards += static_cast<double>((question.*side).forwards);
  }
  return forwards > 0 ? tokens / forwards : 0;
}

}  // namespace

double PolicyComparison::TokensPerForwardA() const {
  return TokensPerForward(questions, &ComparedQuestion::answer_a);
}
double PolicyComparison::TokensPerForwardB() const {
  return TokensPerForward(questions, &ComparedQuestion::answer_b);
}

absl::StatusOr<RunComparison> CompareRuns(const Run& a, const Run& b, const std::string& unmask_a,
                                          const std::string& unmask_b, uint64_t seed) {
  std::vector<std::pair<std::string, std::string>> pairs;
  const std::vector<std::string> of_a = PoliciesOf(a), of_b = PoliciesOf(b);
  if (!unmask_a.empty() && !unmask_b.empty()) {
    pairs.emplace_back(unmask_a, unmask_b);
  } else {
    for (const std::string& unmask : of_a) {
      if (std::find(of_b.begin(), of_b.end(), unmask) != of_b.end()) {
        pairs.emplace_back(unmask, unmask);
      }
    }
    if (pairs.empty() && of_a.size() == 1 && of_b.size() == 1) {
      pairs.emplace_back(of_a.front(), of_b.front());
    }
  }
  if (pairs.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        a.folder, " and ", b.folder, " share no unmask policy; name one of each to compare"));
  }
  RunComparison comparison{a.folder, b.folder, {}};
  for (const auto& [policy_a, policy_b] : pairs) {
    DTRPO_ASSIGN_OR_RETURN(PolicyComparison policy,
                           ComparePolicies(a, b, policy_a, policy_b, seed));
    comparison.policies.push_back(std::move(policy));
  }
  return comparison;
}

std::string ComparisonJson(const RunComparison& comparison) {
  Json policies = Json::array();
  for (const PolicyComparison& policy : comparison.policies) {
    Json differences = Json::array();
    for (const CategoryDifference& d : policy.differences) {
      differences.push_back({{"category", d.category},
                             {"questions", d.paired.questions},
                             {"a", d.a},
                             {"b", d.b},
                             {"difference", d.paired.difference},
                             {"low", d.paired.low},
                             {"high", d.paired.high},
                             {"p_value", d.paired.p_value}});
    }
    Json gained = Json::array(), lost = Json::array();
    for (const ComparedQuestion& question : policy.questions) {
      if (question.flip == Flip::kGained) gained.push_back(question.id);
      if (question.flip == Flip::kLost) lost.push_back(question.id);
    }
    policies.push_back({{"unmask_a", policy.unmask_a},
                        {"unmask_b", policy.unmask_b},
                        {"differences", std::move(differences)},
                        {"tokens_per_forward_a", policy.TokensPerForwardA()},
                        {"tokens_per_forward_b", policy.TokensPerForwardB()},
                        {"gained", std::move(gained)},
                        {"lost", std::move(lost)},
                        {"only_in_a", policy.only_in_a},
                        {"only_in_b", policy.only_in_b}});
  }
  const Json json = {
      {"a", comparison.folder_a}, {"b", comparison.folder_b}, {"policies", std::move(policies)}};
  // A path may be no UTF-8.
  return absl::StrCat(json.dump(2, ' ', false, Json::error_handler_t::replace), "\n");
}

std::string ComparisonText(const RunComparison& comparison) {
  std::string text = absl::StrCat("A ", comparison.folder_a, "\nB ", comparison.folder_b, "\n");
  for (const PolicyComparison& policy : comparison.policies) {
    absl::StrAppend(&text, "\n", policy.unmask_a,
                    policy.unmask_a == policy.unmask_b ? "" : " against ",
                    policy.unmask_a == policy.unmask_b ? "" : policy.unmask_b, ": ", policy.gained,
                    " questions gained, ", policy.lost, " lost of ", policy.questions.size(),
                    absl::StrFormat("; tokens per forward %.3f and %.3f\n",
                                    policy.TokensPerForwardA(), policy.TokensPerForwardB()));
    absl::StrAppendFormat(&text, "  %-24s %9s %7s %7s %30s %8s\n", "", "questions", "A", "B",
                          "B - A, 95 % interval", "p");
    for (const CategoryDifference& d : policy.differences) {
      absl::StrAppendFormat(
          &text, "  %-24s %9d %7.4f %7.4f %30s %8.4f\n", d.category.empty() ? "all" : d.category,
          d.paired.questions, d.a, d.b,
          absl::StrFormat("%+.4f [%+.4f, %+.4f]", d.paired.difference, d.paired.low, d.paired.high),
          d.paired.p_value);
    }
    if (policy.only_in_a + policy.only_in_b > 0) {
      absl::StrAppend(&text, "  left out: ", policy.only_in_a, " questions only in A, ",
                      policy.only_in_b, " only in B\n");
    }
  }
  return text;
}

}  // namespace dtrpo::evaluation

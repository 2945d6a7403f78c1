#include "common/evaluation/run_summary.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/evaluation/pass_at_k.h"

namespace dtrpo::evaluation {
namespace {

double Ratio(double a, double b) { return b > 0 ? a / b : 0; }

void AddEstimates(const std::string& category, const std::vector<const QuestionScore*>& questions,
                  absl::Span<const int32_t> pass_k, std::vector<PassEstimate>& estimates) {
  for (const int32_t k : pass_k) {
    std::vector<double> values;
    int64_t most = 1;
    for (const QuestionScore* question : questions) {
      if (question->answers < k) continue;
      values.push_back(PassAtK(question->answers, question->correct, k));
      most = std::max(most, question->answers);
    }
    if (values.empty()) continue;
    std::sort(values.begin(), values.end());  // the same sum in whatever order they came
    // Of pass@k with k > 1 a question's answers make less than n / k independent values.
    estimates.push_back({category, k, static_cast<int64_t>(values.size()),
                         MeanWithInterval(values, std::max<int64_t>(1, most / k))});
  }
}

template <typename Map>
auto& AtEnd(std::map<std::string, size_t>& index, const std::string& key, Map& list) {
  const auto [it, inserted] = index.emplace(key, list.size());
  if (inserted) list.emplace_back();
  return list[it->second];
}

}  // namespace

std::vector<PassEstimate> EstimatePass(absl::Span<const QuestionScore> scores,
                                       absl::Span<const int32_t> pass_k) {
  std::vector<const QuestionScore*> all;
  std::map<std::string, std::vector<const QuestionScore*>> by_category;
  for (const QuestionScore& score : scores) {
    all.push_back(&score);
    for (const std::string& category : score.categories) by_category[category].push_back(&score);
  }
  std::vector<PassEstimate> estimates;
  AddEstimates("", all, pass_k, estimates);
  for (const auto& [category, questions] : by_category) {
    AddEstimates(category, questions, pass_k, estimates);
  }
  return estimates;
}

double PolicySummary::TokensPerForward() const {
  return Ratio(static_cast<double>(tokens), static_cast<double>(forwards));
}
double PolicySummary::ForwardsPerAnswer() const {
  return Ratio(static_cast<double>(forwards), static_cast<double>(answers));
}
double PolicySummary::TokensPerAnswer() const {
  return Ratio(static_cast<double>(tokens), static_cast<double>(answers));
}
double PolicySummary::TokensPerSecond() const {
  return Ratio(static_cast<double>(timing.tokens), timing.seconds);
}

std::vector<QuestionScore> ScoreQuestions(absl::Span<const JudgedAnswer> answers) {
  std::map<std::string, size_t> index;
  std::vector<QuestionScore> scores;
  for (const JudgedAnswer& answer : answers) {
    QuestionScore& score = AtEnd(index, answer.id, scores);
    score.id = answer.id;
    score.categories = answer.categories;
    score.answers += 1;
    score.correct += answer.correct ? 1 : 0;
  }
  return scores;
}

std::vector<PolicySummary> SummariseRun(absl::Span<const JudgedAnswer> answers,
                                        absl::Span<const int32_t> pass_k,
                                        const std::map<std::string, Timing>& timing) {
  std::map<std::string, size_t> index;
  std::vector<std::vector<JudgedAnswer>> of_policy;
  for (const JudgedAnswer& answer : answers)
    AtEnd(index, answer.unmask, of_policy).push_back(answer);
  std::vector<PolicySummary> summaries;
  for (const std::vector<JudgedAnswer>& list : of_policy) {
    PolicySummary& summary = summaries.emplace_back();
    summary.unmask = list.front().unmask;
    const std::vector<QuestionScore> scores = ScoreQuestions(list);
    summary.questions = static_cast<int64_t>(scores.size());
    for (const JudgedAnswer& answer : list) {
      summary.answers += 1;
      summary.correct += answer.correct ? 1 : 0;
      summary.finished += answer.finished ? 1 : 0;
      summary.tokens += answer.tokens;
      summary.forwards += answer.forwards;
    }
    summary.estimates = EstimatePass(scores, pass_k);
    if (const auto it = timing.find(summary.unmask); it != timing.end())
      summary.timing = it->second;
  }
  return summaries;
}

nlohmann::ordered_json ToJson(const PolicySummary& summary) {
  nlohmann::ordered_json estimates = nlohmann::ordered_json::array();
  for (const PassEstimate& pass : summary.estimates) {
    estimates.push_back({{"category", pass.category},
                         {"k", pass.k},
                         {"questions", pass.questions},
                         {"value", pass.estimate.value},
                         {"low", pass.estimate.low},
                         {"high", pass.estimate.high}});
  }
  return {{"unmask", summary.unmask},
          {"questions", summary.questions},
          {"answers", summary.answers},
          {"correct", summary.correct},
          {"finished", summary.finished},
          {"tokens", summary.tokens},
          {"forwards", summary.forwards},
          {"tokens_per_forward", summary.TokensPerForward()},
          {"forwards_per_answer", summary.ForwardsPerAnswer()},
          {"tokens_per_answer", summary.TokensPerAnswer()},
          {"estimates", std::move(estimates)}};
}

std::string SummaryTable(absl::Span<const PolicySummary> summaries) {
  std::string table =
      absl::StrFormat("%-20s %-28s %9s %12s %15s %14s %9s\n", "unmask", "accuracy", "questions",
                      "tokens/fwd", "forwards/answer", "tokens/answer", "tokens/s");
  for (const PolicySummary& summary : summaries) {
    std::string name = summary.unmask;
    for (const PassEstimate& pass : summary.estimates) {
      const std::string value =
          absl::StrFormat("pass@%d %.4f [%.4f, %.4f]", pass.k, pass.estimate.value,
                          pass.estimate.low, pass.estimate.high);
      if (pass.category.empty() && !name.empty()) {
        absl::StrAppendFormat(&table, "%-20s %-28s %9d %12.3f %15.2f %14.2f %9.0f\n", name, value,
                              pass.questions, summary.TokensPerForward(),
                              summary.ForwardsPerAnswer(), summary.TokensPerAnswer(),
                              summary.TokensPerSecond());
        name.clear();
        continue;
      }
      absl::StrAppendFormat(&table, "  %-18s %-28s %9d\n", pass.category, value, pass.questions);
    }
  }
  return table;
}

}  // namespace dtrpo::evaluation

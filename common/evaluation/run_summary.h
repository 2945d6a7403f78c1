// Thread safety: plain data, pure functions.
//
// The numbers of a run: accuracy with intervals, over all questions and per category, and beside it
// what generating took, for each unmask policy.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "common/evaluation/answer.h"
#include "common/evaluation/interval.h"
#include "nlohmann/json.hpp"

namespace dtrpo::evaluation {

struct QuestionScore {
  std::string id;
  std::vector<std::string> categories;
  int64_t answers = 0;
  int64_t correct = 0;
};

struct PassEstimate {
  std::string category;  // empty: all questions
  int32_t k = 1;
  int64_t questions = 0;
  Estimate estimate;
};

// All questions first, then the categories by name; each with every k of `pass_k` that its
// questions have enough answers for.
std::vector<PassEstimate> EstimatePass(absl::Span<const QuestionScore> scores,
                                       absl::Span<const int32_t> pass_k);

// Wall-clock of the process that sampled: a fact of the machine, kept apart from the results.
struct Timing {
  double seconds = 0;
  int64_t tokens = 0;
};

struct PolicySummary {
  std::string unmask;
  int64_t questions = 0, answers = 0, correct = 0, finished = 0;
  int64_t tokens = 0, forwards = 0;
  std::vector<PassEstimate> estimates;
  Timing timing;

  double TokensPerForward() const;
  double ForwardsPerAnswer() const;
  double TokensPerAnswer() const;
  double TokensPerSecond() const;  // 0: not known
};

// By question, in the order in which questions first appear.
std::vector<QuestionScore> ScoreQuestions(absl::Span<const JudgedAnswer> answers);

// One for each policy, in the order in which policies first appear.
std::vector<PolicySummary> SummariseRun(absl::Span<const JudgedAnswer> answers,
                                        absl::Span<const int32_t> pass_k,
                                        const std::map<std::string, Timing>& timing);

nlohmann::ordered_json ToJson(const PolicySummary& summary);

// For the terminal: a line a policy; below it, where there are categories, a line for each.
std::string SummaryTable(absl::Span<const PolicySummary> summaries);

}  // namespace dtrpo::evaluation

// Thread safety: plain data, pure functions.
//
// Two runs on the same questions, question by question.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/evaluation/answer.h"
#include "common/evaluation/interval.h"
#include "common/evaluation/run_folder.h"

namespace dtrpo::evaluation {

struct CategoryDifference {
  std::string category;     // empty: all questions
  double a = 0, b = 0;      // pass@1
  PairedDifference paired;  // b minus a
};

enum class Flip { kNone, kGained, kLost };  // b is right more often than a, or less often

struct ComparedQuestion {
  std::string id;
  Flip flip = Flip::kNone;
  double a = 0, b = 0;              // share of right answers
  JudgedAnswer answer_a, answer_b;  // of sample 0
};

struct PolicyComparison {
  std::string unmask_a, unmask_b;
  std::vector<CategoryDifference> differences;  // all questions first, then by name
  std::vector<ComparedQuestion> questions;      // in the order of run a
  int64_t gained = 0, lost = 0;
  int64_t only_in_a = 0, only_in_b = 0;  // questions that the other run hasn't answered

  double TokensPerForwardA() const;
  double TokensPerForwardB() const;
};

struct RunComparison {
  std::string folder_a, folder_b;
  std::vector<PolicyComparison> policies;
};

// Compares the policies that both runs have; where there is none and each run has one, those two.
// `unmask_a` and `unmask_b` choose instead (both, or neither). FAILED_PRECONDITION when there is
// nothing to compare or a question expects another answer in the other run.
absl::StatusOr<RunComparison> CompareRuns(const Run& a, const Run& b, const std::string& unmask_a,
                                          const std::string& unmask_b, uint64_t seed);

std::string ComparisonJson(const RunComparison& comparison);
// For the terminal.
std::string ComparisonText(const RunComparison& comparison);

}  // namespace dtrpo::evaluation

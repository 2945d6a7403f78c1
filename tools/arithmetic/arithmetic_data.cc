#include "tools/arithmetic/arithmetic_data.h"

#include "absl/strings/str_cat.h"
#include "common/base/hash.h"
#include "nlohmann/json.hpp"

namespace dtrpo::tools {
namespace {

std::string Id(const ArithmeticProblem& problem) { return absl::StrCat(problem.a, "+", problem.b); }

}  // namespace

std::vector<ArithmeticProblem> ArithmeticProblems() {
  std::vector<ArithmeticProblem> problems;
  for (int a = 0; a < kArithmeticNumbers; ++a) {
    for (int b = 0; b < kArithmeticNumbers; ++b) {
      ArithmeticProblem problem;
      problem.a = a;
      problem.b = b;
      const uint64_t hash = base::StableHash(Id(problem));
      problem.heldout = hash % 1000 < kHeldoutPerMille;
      problem.prompt = absl::StrCat(a, "+", b, (hash >> 32) % 2 == 0 ? "=" : "");
      problem.answer = absl::StrCat(a + b);
      problems.push_back(std::move(problem));
    }
  }
  return problems;
}

std::string ArithmeticLines(const std::vector<ArithmeticProblem>& problems, bool heldout) {
  std::string lines;
  for (const ArithmeticProblem& problem : problems) {
    if (problem.heldout != heldout) continue;
    const nlohmann::ordered_json line = {
        {"id", Id(problem)}, {"prompt", problem.prompt}, {"answer", problem.answer}};
    absl::StrAppend(&lines, line.dump(), "\n");
  }
  return lines;
}

std::string ArithmeticPairLines(const std::vector<ArithmeticProblem>& problems) {
  constexpr int kMistakes[] = {1, -1, 10, -10};
  std::string lines;
  for (const ArithmeticProblem& problem : problems) {
    if (problem.heldout) continue;
    const int mistake = kMistakes[base::StableHash("mistake", Id(problem)) % 4];
    const int sum = problem.a + problem.b;
    const nlohmann::ordered_json line = {
        {"id", Id(problem)},
        {"prompt", problem.prompt},
        {"chosen", problem.answer},
        {"rejected", absl::StrCat(sum + mistake < 0 ? sum - mistake : sum + mistake)}};
    absl::StrAppend(&lines, line.dump(), "\n");
  }
  return lines;
}

}  // namespace dtrpo::tools

#include "tools/arithmetic/arithmetic_data.h"

#include "absl/strings/str_cat.h"
#include "common/base/hash.h"
#include "nlohmann/json.hpp"

namespace dtrpo::tools {
namespace {

std::string Id(const ArithmeticProblem& problem) { return absl::StrCat(problem.a, "+", problem.b); }

constexpr const char* kNames[] = {"Ann", "Ben", "Cleo", "Dan"};
constexpr const char* kThings[] = {"nuts", "pens", "books", "coins"};

struct WordProblem {
  const char* category;
  std::string question;
};

// Names, things and wording by hash, so that they tell nothing about the numbers.
WordProblem InWords(const ArithmeticProblem& p) {
  const uint64_t hash = base::StableHash("words", Id(p));
  const char* const name = kNames[hash % 4];
  const char* const other = kNames[(hash % 4 + 1 + hash / 4 % 3) % 4];
  const char* const things = kThings[hash / 16 % 4];
  switch (hash / 64 % 3) {
    case 0:
      return {"more", absl::StrCat(name, " has ", p.a, " ", things, " and gets ", p.b,
                                   " more. How many ", things, " does ", name, " have now?")};
    case 1:
      return {"together", absl::StrCat(name, " has ", p.a, " ", things, " and ", other, " has ",
                                       p.b, ". How many ", things, " do they have together?")};
    default:
      return {"before", absl::StrCat(name, " gave away ", p.a, " ", things, " and has ", p.b,
                                     " left. How many ", things, " were there before?")};
  }
}

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

std::string WordProblemLines(const std::vector<ArithmeticProblem>& problems, bool heldout) {
  std::string lines;
  for (const ArithmeticProblem& p : problems) {
    if (p.heldout != heldout) continue;
    const WordProblem words = InWords(p);
    const nlohmann::ordered_json line = {
        {"question", words.question},
        {"answer", absl::StrCat(p.a, " + ", p.b, " = <<", Id(p), "=", p.answer, ">>", p.answer,
                                "\n#### ", p.answer)},
        {"category", words.category},
        {"sum", p.prompt}};
    absl::StrAppend(&lines, line.dump(), "\n");
  }
  return lines;
}

std::string WordPromptLines(const std::vector<ArithmeticProblem>& problems, bool heldout) {
  std::string lines;
  for (const ArithmeticProblem& p : problems) {
    if (p.heldout != heldout) continue;
    const nlohmann::ordered_json line = {
        {"id", Id(p)}, {"prompt", InWords(p).question}, {"answer", p.answer}};
    absl::StrAppend(&lines, line.dump(), "\n");
  }
  return lines;
}

}  // namespace dtrpo::tools

#include "tools/arithmetic/arithmetic_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"

namespace dtrpo::tools {
namespace {

TEST(ArithmeticDataTest, EveryAdditionIsThereOnceWithItsSum) {
  std::set<std::pair<int, int>> seen;
  for (const ArithmeticProblem& p : ArithmeticProblems()) {
    EXPECT_TRUE(seen.insert({p.a, p.b}).second);
    EXPECT_EQ(p.answer, absl::StrCat(p.a + p.b));
    EXPECT_TRUE(absl::StartsWith(p.prompt, absl::StrCat(p.a, "+", p.b)));
  }
  EXPECT_EQ(seen.size(), 10000u);
}

TEST(ArithmeticDataTest, AboutATenthIsHeldOutAndNoLineIsInBothFiles) {
  const std::vector<ArithmeticProblem> problems = ArithmeticProblems();
  std::map<std::string, std::set<std::string>> ids;
  for (const bool heldout : {false, true}) {
    for (const auto line :
         absl::StrSplit(ArithmeticLines(problems, heldout), '\n', absl::SkipEmpty())) {
      ids[heldout ? "heldout" : "train"].insert(nlohmann::json::parse(line)["id"]);
    }
  }
  EXPECT_EQ(ids["train"].size() + ids["heldout"].size(), 10000u);
  EXPECT_GT(ids["heldout"].size(), 900u);
  EXPECT_LT(ids["heldout"].size(), 1100u);
  for (const std::string& id : ids["heldout"]) EXPECT_EQ(ids["train"].count(id), 0u) << id;
}

// The committed base was trained without the held-out problems: they must stay the same ones.
TEST(ArithmeticDataTest, TheSplitNeverMoves) {
  std::vector<std::string> heldout;
  for (const ArithmeticProblem& p : ArithmeticProblems()) {
    if (p.heldout && p.a == 47) heldout.push_back(p.prompt);
  }
  EXPECT_THAT(heldout, ::testing::ElementsAre("47+5", "47+14", "47+15=", "47+26", "47+35=", "47+36",
                                              "47+53=", "47+54=", "47+55", "47+59="));
}

TEST(ArithmeticDataTest, PromptLengthsFallOnEveryResidueOfABlockOfFour) {
  std::map<size_t, int> residues;
  for (const ArithmeticProblem& p : ArithmeticProblems()) ++residues[p.prompt.size() % 4];
  for (size_t residue = 0; residue < 4; ++residue) EXPECT_GE(residues[residue], 50) << residue;
}

TEST(ArithmeticDataTest, PairsPreferTheSumAndHoldNoHeldOutProblem) {
  const std::vector<ArithmeticProblem> problems = ArithmeticProblems();
  std::map<std::string, ArithmeticProblem> by_id;
  for (const ArithmeticProblem& p : problems) by_id[absl::StrCat(p.a, "+", p.b)] = p;
  size_t pairs = 0;
  for (const auto line : absl::StrSplit(ArithmeticPairLines(problems), '\n', absl::SkipEmpty())) {
    const auto pair = nlohmann::json::parse(line);
    const ArithmeticProblem& problem = by_id[pair["id"]];
    EXPECT_FALSE(problem.heldout);
    EXPECT_EQ(pair["prompt"], problem.prompt);
    EXPECT_EQ(pair["chosen"], problem.answer);
    const int wrong = std::stoi(std::string(pair["rejected"]));
    EXPECT_GE(wrong, 0);
    const int off = std::abs(wrong - problem.a - problem.b);
    EXPECT_TRUE(off == 1 || off == 10) << line;
    ++pairs;
  }
  EXPECT_EQ(pairs, 9020u);
}

TEST(ArithmeticDataTest, WordProblemsAskForTheSumInTheLayoutOfGsm8k) {
  const std::vector<ArithmeticProblem> problems = ArithmeticProblems();
  std::map<std::string, int> categories;
  std::string every_eighth;
  int number = 0;
  for (const auto line :
       absl::StrSplit(WordProblemLines(problems, /*heldout=*/true), '\n', absl::SkipEmpty())) {
    const auto word = nlohmann::json::parse(line);
    const std::string sum = word["sum"], answer = word["answer"], question = word["question"];
    const size_t plus = sum.find('+');
    const int a = std::atoi(sum.c_str()), b = std::atoi(sum.c_str() + plus + 1);
    EXPECT_TRUE(absl::EndsWith(answer, absl::StrCat("#### ", a + b))) << answer;
    EXPECT_NE(question.find(absl::StrCat(" ", a, " ")), std::string::npos) << question;
    EXPECT_NE(question.find(absl::StrCat(" ", b)), std::string::npos) << question;
    ++categories[word["category"]];
    if (number++ % 8 == 0) absl::StrAppend(&every_eighth, line, "\n");
  }
  EXPECT_EQ(number, 980);
  EXPECT_EQ(categories.size(), 3u);
  // The committed file is every eighth of them.
  std::ifstream file(DTRPO_SOURCE_DIR "/examples/evaluation/sums.jsonl");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), every_eighth);

  const std::string prompts = WordPromptLines(problems, /*heldout=*/false);
  EXPECT_EQ(std::count(prompts.begin(), prompts.end(), '\n'), 9020);
}

}  // namespace
}  // namespace dtrpo::tools

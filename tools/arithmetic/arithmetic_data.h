// Thread safety: pure functions.
//
// The example task: addition of two numbers from 0 to 99, as prompts with answers. A problem is
// held out by the hash of its numbers, so no file order or seed can leak one into training. Some
// prompts end in "=" and some don't (by another hash): with the chat template, prompt lengths then
// fall on every residue of a block of 4.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dtrpo::tools {

struct ArithmeticProblem {
  int a = 0, b = 0;
  std::string prompt;  // "47+8=" or "47+8"
  std::string answer;  // "55"
  bool heldout = false;
};

inline constexpr int kArithmeticNumbers = 100;
inline constexpr int kHeldoutPerMille = 100;

// All 10 000 problems in order of (a, b); about a tenth is held out.
std::vector<ArithmeticProblem> ArithmeticProblems();

// One JSONL line each: {"id": "47+8", "prompt": "47+8=", "answer": "55"}.
std::string ArithmeticLines(const std::vector<ArithmeticProblem>& problems, bool heldout);

// Preference pairs of the problems that aren't held out: the sum, and a sum that is off by one or
// by ten (by hash): {"id": "47+8", "prompt": "47+8=", "chosen": "55", "rejected": "65"}.
std::string ArithmeticPairLines(const std::vector<ArithmeticProblem>& problems);

// The problems as word problems in the layout of GSM8K, with their kind and the bare sum beside
// them:
//   {"question": "Ann has 47 nuts and gets 8 more. How many nuts does Ann have now?",
//    "answer": "47 + 8 = <<47+8=55>>55\n#### 55", "category": "more", "sum": "47+8"}
std::string WordProblemLines(const std::vector<ArithmeticProblem>& problems, bool heldout);

// The same questions as prompts to fine-tune on: {"id": "47+8", "prompt": "Ann ...", "answer":
// "55"}.
std::string WordPromptLines(const std::vector<ArithmeticProblem>& problems, bool heldout);

}  // namespace dtrpo::tools

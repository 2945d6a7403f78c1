// Thread safety: pure functions.
//
// The questions of an evaluation, from JSONL in the layouts that benchmarks are published in
// (docs/evaluation.md shows a line of each):
//
//   prompts        our own: {"id", "prompt" | "messages" | "prompt_tokens", answer}
//   gsm8k          {"question", "answer": "... #### 42"}
//   math           {"problem", "solution" with \boxed{...}, "type", "level"}
//   gpqa           {"Question", "Correct Answer", "Incorrect Answer 1" to 3, "Subdomain"}
//   mbpp           {"task_id", "text" or "prompt", "test_list", ...}; MBPP+ has "test", too
//   livecodebench  {"question_id", "question_content", "public_test_cases", ...}
//   ifeval         {"key", "prompt", "instruction_id_list", "kwargs"}
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace dtrpo::evaluation {

struct Question {
  std::string id;
  std::vector<std::string> categories;  // it counts in each of them
  std::string prompt;                   // as shown: the text, or the JSON of messages or tokens
  std::string expected;  // what the verifier judges against, or in words what it checks
  // The line as it was published, and as one of a prompt file (common/text/prompt_file.h): "id",
  // "prompt" and the answer field say what is said above. Samplers and reward services read it.
  std::string line;
};

struct QuestionOptions {
  std::string layout = "prompts";
  std::string prompt_template = {};  // the text; empty: the layout's own
  std::string answer_field = "answer";
  uint64_t seed = 1;  // of the order of choices, with the question: no order of lines matters
};

// Every id once, at least one question. INVALID_ARGUMENT "<file>:<line>: field '<name>': <what>".
absl::StatusOr<std::vector<Question>> ReadQuestions(absl::string_view content,
                                                    const std::string& file,
                                                    const QuestionOptions& options);

// Question::line read back; also a line of layout "prompts".
absl::StatusOr<Question> ParseQuestionLine(absl::string_view line, const std::string& answer_field);

// `asked`, or else what suits the layout; empty for "prompts".
std::string VerifierOf(const std::string& asked, absl::string_view layout);

// Of many questions at most `limit` (0: all), spread evenly, since files are often sorted.
template <typename T>
std::vector<T> SpreadEvenly(std::vector<T> all, int64_t limit) {
  const int64_t count = static_cast<int64_t>(all.size());
  if (limit <= 0 || limit >= count) return all;
  std::vector<T> some;
  for (int64_t i = 0; i < limit; ++i) some.push_back(std::move(all[i * count / limit]));
  return some;
}

// The name under which the answer to a question is drawn, by which its seed is made: the same in
// every process, batch and attempt.
std::string AnswerName(absl::string_view question_id, int32_t sample);

}  // namespace dtrpo::evaluation

// Thread safety: plain data, pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace dtrpo::evaluation {

// One judged answer: a line of a run's results.jsonl, which holds nothing of the process, batch or
// time that made it, so that equal runs have equal lines.
struct JudgedAnswer {
  std::string unmask;  // the policy it was sampled with
  std::string id;      // of the question
  std::vector<std::string> categories;
  int32_t sample = 0;  // from 0
  std::string question, expected;
  std::string answer;
  bool correct = false;
  bool finished = false;  // a stop token ends it
  std::string reason;     // the verifier's
  int64_t tokens = 0;     // targets
  int64_t forwards = 0;   // its own, as if it had been alone
  // The denoising order: the answer cut where tokens end, and of each piece the step that unmasked
  // it, counted from 1 over the whole answer; steps of one forward share their number.
  std::vector<std::string> pieces;
  std::vector<int32_t> steps;
};

// One line, with its newline. Bytes that are no UTF-8 become U+FFFD.
std::string ToJsonLine(const JudgedAnswer& answer);
// INVALID_ARGUMENT naming the field.
absl::StatusOr<JudgedAnswer> ParseAnswer(absl::string_view line);

}  // namespace dtrpo::evaluation

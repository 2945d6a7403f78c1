// Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/evaluation/answer.h"
#include "common/evaluation/question.h"
#include "common/text/prompt_encoder.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::evaluation {

// Forwards a sequence took part in: one per step of a block, and, where a block's first token is
// read from it, the clean pass that ends each block but the last.
int64_t ForwardsOf(const trajectory::Trajectory& t);

// The stop token is there, and within the limit that was set: one beyond max_new_tokens is no
// target.
bool Finished(const trajectory::Trajectory& t);

// Targets without the stop token that ends them.
absl::Span<const int32_t> AnswerTokens(const trajectory::Trajectory& t);

// Of each target, when it was unmasked: 1, 2, ... over the whole answer, tokens of one step share
// their number. [TargetCount]; 0: never.
std::vector<int32_t> DenoisingOrder(const trajectory::Trajectory& t);

// What was sampled, as far as the trajectory says it: answer, finished, tokens, forwards, pieces
// and steps. The stop token is no part of the text.
absl::StatusOr<JudgedAnswer> DescribeAnswer(const trajectory::Trajectory& t,
                                            const text::PromptEncoder& encoder);

// And whose it is.
void FillQuestion(const Question& question, int32_t sample, const std::string& unmask,
                  JudgedAnswer& answer);

}  // namespace dtrpo::evaluation

#include "common/evaluation/sampled_answer.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "common/base/status_macros.h"
#include "common/trajectory/block_layout.h"

namespace dtrpo::evaluation {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";  // what a decoder makes of a part of a character
constexpr size_t kMaxTokensOfCharacter = 8;

std::set<int32_t> StepsOf(const trajectory::Trajectory& t, const trajectory::ResponseBlock& block) {
  std::set<int32_t> steps;
  for (int64_t i = block.begin; i < block.end; ++i) {
    if (t.unmask_step[i] != trajectory::kNeverCommitted) steps.insert(t.unmask_step[i]);
  }
  return steps;
}

}  // namespace

int64_t ForwardsOf(const trajectory::Trajectory& t) {
  const int64_t clean_passes = t.sampler.first_token == trajectory::FirstToken::kNone ? 0 : 1;
  int64_t forwards = -clean_passes;
  for (const trajectory::ResponseBlock& block : trajectory::ResponseBlocks(t)) {
    std::set<int32_t> steps = StepsOf(t, block);
    steps.erase(trajectory::kBlockFirstStep);
    forwards += static_cast<int64_t>(steps.size()) + clean_passes;
  }
  return std::max<int64_t>(forwards, 1);
}

bool Finished(const trajectory::Trajectory& t) {
  return t.stop_index >= 0 && t.stop_index < trajectory::TargetCount(t);
}

absl::Span<const int32_t> AnswerTokens(const trajectory::Trajectory& t) {
  const int64_t targets = trajectory::TargetCount(t);
  return absl::MakeConstSpan(t.response_tokens).subspan(0, targets - (Finished(t) ? 1 : 0));
}

std::vector<int32_t> DenoisingOrder(const trajectory::Trajectory& t) {
  std::vector<int32_t> order(static_cast<size_t>(trajectory::TargetCount(t)), 0);
  int32_t before = 0;
  for (const trajectory::ResponseBlock& block : trajectory::ResponseBlocks(t)) {
    const std::set<int32_t> steps = StepsOf(t, block);
    const int64_t end = std::min<int64_t>(block.end, static_cast<int64_t>(order.size()));
    for (int64_t i = block.begin; i < end; ++i) {
      const auto step = steps.find(t.unmask_step[i]);
      if (step == steps.end()) continue;
      order[i] = before + 1 + static_cast<int32_t>(std::distance(steps.begin(), step));
    }
    before += static_cast<int32_t>(steps.size());
  }
  return order;
}

absl::StatusOr<JudgedAnswer> DescribeAnswer(const trajectory::Trajectory& t,
                                            const text::PromptEncoder& encoder) {
  JudgedAnswer answer;
  answer.tokens = trajectory::TargetCount(t);
  answer.finished = Finished(t);
  answer.forwards = ForwardsOf(t);
  const absl::Span<const int32_t> shown = AnswerTokens(t);
  DTRPO_ASSIGN_OR_RETURN(answer.answer, encoder.Decode(shown));
  if (encoder.tokenizer() == nullptr) return answer;
  const std::vector<int32_t> order = DenoisingOrder(t);
  for (size_t begin = 0; begin < shown.size();) {
    // A character may be spread over several tokens.
    size_t count = 0;
    std::string piece;
    do {
      ++count;
      DTRPO_ASSIGN_OR_RETURN(piece, encoder.Decode(shown.subspan(begin, count)));
    } while (absl::EndsWith(piece, kReplacement) && count < kMaxTokensOfCharacter &&
             begin + count < shown.size());
    answer.pieces.push_back(std::move(piece));
    answer.steps.push_back(*std::max_element(order.begin() + begin, order.begin() + begin + count));
    begin += count;
  }
  return answer;
}

void FillQuestion(const Question& question, int32_t sample, const std::string& unmask,
                  JudgedAnswer& answer) {
  answer.unmask = unmask;
  answer.id = question.id;
  answer.categories = question.categories;
  answer.sample = sample;
  answer.question = question.prompt;
  answer.expected = question.expected;
}

}  // namespace dtrpo::evaluation

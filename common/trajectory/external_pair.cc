#include "common/trajectory/external_pair.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/hash.h"
#include "common/base/philox.h"
#include "common/base/status_macros.h"
#include "common/trajectory/block_layout.h"

namespace dtrpo::trajectory {
namespace {

constexpr double kLastTime = 1e-3;  // where the noise schedule ends, as Dream's does

template <typename... Words>
absl::Status Refuse(absl::string_view field, const Words&... words) {
  return absl::InvalidArgumentError(absl::StrCat("field '", field, "': ", words...));
}

bool IsStop(const CanvasRules& rules, int32_t token) {
  return std::find(rules.stop_ids.begin(), rules.stop_ids.end(), token) != rules.stop_ids.end();
}

absl::Status CheckTokens(absl::string_view field, const std::vector<int32_t>& tokens,
                         const CanvasRules& rules) {
  if (tokens.empty()) return Refuse(field, "is empty");
  for (const int32_t token : tokens) {
    if (token < 0 || token >= rules.vocabulary_size) {
      return Refuse(field, "token id ", token, " is outside the vocabulary of ",
                    rules.vocabulary_size);
    }
    if (token == rules.mask_id) return Refuse(field, "holds the mask token ", token);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> WithStop(absl::string_view field, std::vector<int32_t> answer,
                                              const CanvasRules& rules) {
  DTRPO_RETURN_IF_ERROR(CheckTokens(field, answer, rules));
  if (!IsStop(rules, answer.back())) answer.push_back(rules.stop_ids.front());
  for (size_t i = 0; i + 1 < answer.size(); ++i) {
    if (IsStop(rules, answer[i])) {
      return Refuse(field, "stop token ", answer[i], " at ", i, ", before its end");
    }
  }
  if (static_cast<int64_t>(answer.size()) > rules.max_new_tokens) {
    return Refuse(field, "too long: ", answer.size(), " tokens with its stop token, the limit is ",
                  rules.max_new_tokens);
  }
  return answer;
}

// Steps from 1 of `count` tokens that are masked together.
std::vector<int32_t> RandomSteps(int32_t count, int32_t steps, base::CounterRng& rng) {
  std::vector<int32_t> result;
  for (int32_t step = 0; step < steps; ++step) {
    result.insert(result.end(), count / steps + (step < count % steps ? 1 : 0), step + 1);
  }
  for (size_t i = result.size(); i > 1; --i) {
    std::swap(result[i - 1], result[rng.UniformInt(i)]);
  }
  return result;
}

// A token with u ~ U(0,1) is masked at time t iff u < t, so that the step from t to s unmasks those
// with s <= u < t: of the masked ones each with probability (t - s) / t.
std::vector<int32_t> NoiseSteps(int32_t count, int32_t steps, base::CounterRng& rng) {
  std::vector<int32_t> result;
  for (int32_t i = 0; i < count; ++i) {
    const double step = (1 - rng.Uniform01()) * steps / (1 - kLastTime);
    result.push_back(1 + std::min(steps - 1, static_cast<int32_t>(step)));
  }
  const std::set<int32_t> used(result.begin(), result.end());
  for (int32_t& step : result) {
    step = 1 + static_cast<int32_t>(std::distance(used.begin(), used.find(step)));
  }
  return result;
}

// Sub-blocks divide the block's rows, the prompt's tail among them, and steps count on across them.
void FillSteps(const ResponseBlock& block, const SyntheticOrder& order, bool first_tokens,
               int64_t answer_tokens, base::CounterRng& rng, std::vector<int32_t>& unmask_step) {
  const int64_t sub_block = order.sub_block > 0 ? order.sub_block : block.rows;
  const int64_t tail = block.rows - (block.end - block.begin);
  int32_t done = 0;
  for (int64_t row = 0; row < block.rows; row += sub_block) {
    std::vector<int64_t> masked;
    for (int64_t r = std::max(row, tail); r < std::min(row + sub_block, block.rows); ++r) {
      const int64_t i = block.begin + r - tail;
      if (i >= answer_tokens) break;
      if (first_tokens && block.starts_in_response && i == block.begin) {
        unmask_step[i] = kBlockFirstStep;
      } else {
        masked.push_back(i);
      }
    }
    const int32_t count = static_cast<int32_t>(masked.size());
    if (count == 0) continue;
    const bool noise = order.kind == OrderKind::kNoise;
    const std::vector<int32_t> steps =
        noise ? NoiseSteps(count, order.steps > 0 ? order.steps : count, rng)
              : RandomSteps(count, order.steps > 0 ? std::min(order.steps, count) : count, rng);
    for (int32_t i = 0; i < count; ++i) unmask_step[masked[i]] = done + steps[i];
    done += *std::max_element(steps.begin(), steps.end());
  }
}

Trajectory MakeTrajectory(std::string id, const std::vector<int32_t>& prompt,
                          const std::vector<int32_t>& answer, const CanvasRules& rules,
                          const SyntheticOrder& order) {
  const bool bidirectional = rules.block_origin == BlockOrigin::kResponse;
  const int64_t length = static_cast<int64_t>(answer.size());
  Trajectory t;
  t.id = std::move(id);
  t.external = true;
  t.prompt_tokens = prompt;
  t.block_size = rules.block_size > 0 ? rules.block_size : rules.max_new_tokens;
  t.block_origin = rules.block_origin;
  t.sampler.max_new_tokens = rules.max_new_tokens;
  t.sampler.sub_block = order.sub_block;
  const int32_t steps = order.steps > 0 ? order.steps : t.block_size;
  t.sampler.unmask =
      absl::StrCat(order.kind == OrderKind::kNoise ? "dream:origin," : "steps:", steps);
  t.sampler.first_token = rules.first_tokens ? FirstToken::kSampled : FirstToken::kNone;
  t.seed = order.seed;
  t.finish_reason = FinishReason::kStop;
  t.stop_index = static_cast<int32_t>(length - 1);
  t.response_tokens = answer;
  t.response_tokens.resize(
      CanvasTokens(static_cast<int64_t>(prompt.size()),
                   bidirectional ? rules.max_new_tokens : length, t.block_size, t.block_origin),
      rules.mask_id);
  t.unmask_step.assign(t.response_tokens.size(), kNeverCommitted);
  base::CounterRng rng(order.seed, base::StableHash(absl::string_view("synthetic order"), t.id));
  for (const ResponseBlock& block : ResponseBlocks(t)) {
    FillSteps(block, order, rules.first_tokens, length, rng, t.unmask_step);
  }
  return t;
}

absl::Status CheckPositions(absl::string_view field, const Trajectory& t,
                            const CanvasRules& rules) {
  const int64_t length = static_cast<int64_t>(t.prompt_tokens.size() + t.response_tokens.size());
  if (rules.max_positions == 0 || length <= rules.max_positions) return absl::OkStatus();
  return Refuse(field, "too long: prompt and answer take ", length, " positions, the model has ",
                rules.max_positions);
}

}  // namespace

absl::StatusOr<PreferencePair> MakeExternalPair(const ExternalPair& pair, const CanvasRules& rules,
                                                const SyntheticOrder& order) {
  DTRPO_RETURN_IF_ERROR(CheckTokens("prompt", pair.prompt_tokens, rules));
  if (const size_t size = pair.prompt_tokens.size();
      rules.max_prompt_tokens > 0 && size > static_cast<size_t>(rules.max_prompt_tokens)) {
    return Refuse("prompt", "too long: ", size, " tokens, the limit is ", rules.max_prompt_tokens);
  }
  DTRPO_ASSIGN_OR_RETURN(const std::vector<int32_t> chosen,
                         WithStop("chosen", pair.chosen_tokens, rules));
  DTRPO_ASSIGN_OR_RETURN(const std::vector<int32_t> rejected,
                         WithStop("rejected", pair.rejected_tokens, rules));
  if (chosen == rejected) return Refuse("rejected", "equals 'chosen'");
  PreferencePair result;
  result.id = pair.id;
  result.chosen =
      MakeTrajectory(absl::StrCat(pair.id, "/chosen"), pair.prompt_tokens, chosen, rules, order);
  result.rejected = MakeTrajectory(absl::StrCat(pair.id, "/rejected"), pair.prompt_tokens, rejected,
                                   rules, order);
  DTRPO_RETURN_IF_ERROR(CheckPositions("chosen", result.chosen, rules));
  DTRPO_RETURN_IF_ERROR(CheckPositions("rejected", result.rejected, rules));
  DTRPO_RETURN_IF_ERROR(Validate(result, rules.vocabulary_size));
  return result;
}

bool IsHeldOut(absl::Span<const int32_t> prompt_tokens, uint64_t seed, double share) {
  base::StableHasher hasher;
  hasher.Add(absl::string_view("held out")).Add(seed);
  for (const int32_t token : prompt_tokens) hasher.Add(static_cast<uint64_t>(token));
  return base::CounterRng::ToUniform01(hasher.Finish()) < share;
}

absl::StatusOr<OrderKind> ParseOrderKind(absl::string_view word) {
  if (word == "random") return OrderKind::kRandom;
  if (word == "noise") return OrderKind::kNoise;
  return absl::InvalidArgumentError(
      absl::StrCat("order '", word, "' is neither 'random' nor 'noise'"));
}

}  // namespace dtrpo::trajectory

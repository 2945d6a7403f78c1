#include "common/dtrpo/plan_checks.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/trajectory/block_layout.h"

namespace dtrpo::objective {
namespace {

using trajectory::BlockOrigin;
using trajectory::BlockPlan;
using trajectory::ResponseBlock;
using trajectory::ScoredState;
using trajectory::Trajectory;

template <typename... Words>
absl::Status Refuse(const Trajectory& t, const Words&... words) {
  return absl::InvalidArgumentError(absl::StrCat("trajectory '", t.id, "': ", words...));
}

absl::Status CheckTokens(const Trajectory& t, const char* field, const std::vector<int32_t>& tokens,
                         int64_t vocabulary_size) {
  for (const int32_t token : tokens) {
    if (token < 0 || token >= vocabulary_size) {
      return Refuse(t, field, ": token id ", token, " is outside the model's vocabulary of ",
                    vocabulary_size);
    }
  }
  return absl::OkStatus();
}

absl::Status CheckState(const Trajectory& t, int64_t index, const ResponseBlock& block,
                        const ScoredState& state, bool first_tokens) {
  if (state.block != index || state.step < 0) {
    return Refuse(t, "its plan holds step ", state.step, " of block ", state.block, " in block ",
                  index);
  }
  const int64_t end = t.block_origin == BlockOrigin::kAbsolute
                          ? block.end
                          : static_cast<int64_t>(t.response_tokens.size());
  if (!std::is_sorted(state.masked.begin(), state.masked.end()) ||
      (!state.masked.empty() &&
       (state.masked.front() < block.begin || state.masked.back() >= end))) {
    return Refuse(t, "its plan masks what isn't in block ", index);
  }
  for (const int64_t target : state.targets) {
    if (target >= block.end ||
        !std::binary_search(state.masked.begin(), state.masked.end(), target)) {
      return Refuse(t, "its plan has target ", target, ", which isn't masked in block ", index);
    }
    if (first_tokens && target == block.begin && block.starts_in_response) {
      return Refuse(t, "unmask_step: with token shift the first token of block ", index,
                    " has step 0, not ", t.unmask_step[target]);
    }
  }
  return absl::OkStatus();
}

absl::Status CheckBlock(const Trajectory& t, int64_t index, const ResponseBlock& block,
                        const BlockPlan& plan, bool first_tokens) {
  if (plan.block.begin != block.begin || plan.block.end != block.end) {
    return Refuse(t, "its plan was made for another layout of block ", index);
  }
  if (plan.first_token >= 0) {
    if (!first_tokens) {
      return Refuse(t, "unmask_step: block ", index,
                    " has a block-first token (step 0), but the model has no token shift, or is "
                    "bidirectional");
    }
    if (plan.first_token != block.begin || !block.starts_in_response) {
      return Refuse(t, "its plan names ", plan.first_token, " as the first token of block ", index);
    }
  }
  for (const ScoredState& state : plan.states) {
    DTRPO_RETURN_IF_ERROR(CheckState(t, index, block, state, first_tokens));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckPlan(const ScoreInput& input, const PlanExpectations& expected) {
  DTRPO_CHECK(input.trajectory != nullptr && input.plan != nullptr);
  const Trajectory& t = *input.trajectory;
  if (t.block_origin != expected.block_origin) {
    return Refuse(t, "block_origin: ",
                  expected.block_origin == BlockOrigin::kAbsolute
                      ? "block-causal models need absolute blocks"
                      : "bidirectional models need blocks that begin at the response");
  }
  if (t.prompt_tokens.empty()) return Refuse(t, "prompt_tokens: is empty");
  const size_t before_blocks =
      t.block_origin == BlockOrigin::kAbsolute ? t.prompt_tokens.size() : size_t{0};
  if (t.block_size < 1 || t.unmask_step.size() != t.response_tokens.size() ||
      (before_blocks + t.response_tokens.size()) % t.block_size != 0) {
    return Refuse(t, "block_size, unmask_step and response_tokens don't fit each other");
  }
  DTRPO_RETURN_IF_ERROR(CheckTokens(t, "prompt_tokens", t.prompt_tokens, expected.vocabulary_size));
  DTRPO_RETURN_IF_ERROR(
      CheckTokens(t, "response_tokens", t.response_tokens, expected.vocabulary_size));
  const std::vector<ResponseBlock> blocks = PlannedBlocks(t, input.plan->kind);
  if (blocks.size() != input.plan->blocks.size()) {
    return Refuse(t, "its plan has ", input.plan->blocks.size(), " blocks, the response ",
                  blocks.size());
  }
  for (size_t b = 0; b < blocks.size(); ++b) {
    DTRPO_RETURN_IF_ERROR(CheckBlock(t, static_cast<int64_t>(b), blocks[b], input.plan->blocks[b],
                                     expected.first_tokens));
  }
  return absl::OkStatus();
}

}  // namespace dtrpo::objective

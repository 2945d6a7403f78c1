#include "common/dtrpo/whole_states.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/dtrpo/plan_checks.h"

namespace dtrpo::objective {
namespace {

using trajectory::ScoredState;
using trajectory::Trajectory;

void AddState(const Trajectory& t, const ScoredState& state, const WholeStateOptions& options,
              RemaskedBatch* batch) {
  model::RowBatch& rows = batch->rows;
  const int64_t begin = static_cast<int64_t>(rows.token_ids.size());
  const int64_t prompt = static_cast<int64_t>(t.prompt_tokens.size());
  rows.token_ids.insert(rows.token_ids.end(), t.prompt_tokens.begin(), t.prompt_tokens.end());
  rows.token_ids.insert(rows.token_ids.end(), t.response_tokens.begin(), t.response_tokens.end());
  for (const int64_t i : state.masked) rows.token_ids[begin + prompt + i] = options.mask_id;
  const int64_t end = static_cast<int64_t>(rows.token_ids.size());
  for (int64_t position = 0; position < end - begin; ++position) {
    rows.positions.push_back(position);
  }
  rows.segments.push_back({begin, end, {{begin, end}}});
  for (const int64_t i : state.targets) {
    batch->target_rows.push_back(begin + prompt + i - options.logit_shift);
    batch->target_tokens.push_back(t.response_tokens[i]);
  }
}

}  // namespace

absl::StatusOr<std::vector<RemaskedBatch>> LayOutWholeStates(absl::Span<const ScoreInput> inputs,
                                                             const WholeStateOptions& options) {
  std::vector<RemaskedBatch> batches;
  for (const ScoreInput& input : inputs) {
    DTRPO_RETURN_IF_ERROR(CheckPlan(input, {.vocabulary_size = options.vocabulary_size,
                                            .block_origin = trajectory::BlockOrigin::kResponse,
                                            .first_tokens = false}));
    const Trajectory& t = *input.trajectory;
    const size_t rows = t.prompt_tokens.size() + t.response_tokens.size();
    for (const trajectory::BlockPlan& block : input.plan->blocks) {
      for (const ScoredState& state : block.states) {
        if (batches.empty() ||
            static_cast<int64_t>(batches.back().rows.token_ids.size() + rows) > options.max_rows) {
          batches.emplace_back();
        }
        AddState(t, state, options, &batches.back());
      }
    }
  }
  return batches;
}

}  // namespace dtrpo::objective

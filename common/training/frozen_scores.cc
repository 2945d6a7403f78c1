#include "common/training/frozen_scores.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>

#include "common/base/status_macros.h"
#include "common/dtrpo/trajectory_scorer.h"
#include "common/model/torch_boundary.h"

namespace dtrpo::training {
namespace {

using trajectory::BlockPlan;
using trajectory::MaskPlan;
using trajectory::ScoredState;

std::tuple<int64_t, int32_t, int64_t> FirstTokenKey(int64_t block) {
  return {block, trajectory::kBlockFirstStep, -1};
}

// Calls visit((block, step, draw), targets) in plan order.
template <typename Visit>
void ForEachState(const MaskPlan& plan, const Visit& visit) {
  for (size_t b = 0; b < plan.blocks.size(); ++b) {
    const int64_t block = static_cast<int64_t>(b);
    if (plan.blocks[b].first_token >= 0) {
      visit(FirstTokenKey(block), size_t{1});
    }
    const std::vector<ScoredState>& states = plan.blocks[b].states;
    for (size_t k = 0; k < states.size(); ++k) {
      const bool sampled = states[k].step != trajectory::kNoStep;
      visit(std::tuple{block, states[k].step, sampled ? 0 : static_cast<int64_t>(k)},
            states[k].targets.size());
    }
  }
}

// Of its forward, at most: the clean sequence and a block for each state. Bidirectional states
// bring the whole sequence each, but the scorer divides those itself.
int64_t Rows(const trajectory::Trajectory& t, const MaskPlan& plan) {
  int64_t rows = static_cast<int64_t>(t.prompt_tokens.size() + t.response_tokens.size());
  for (const BlockPlan& block : plan.blocks) {
    rows += t.block_size * static_cast<int64_t>(block.states.size());
  }
  return rows;
}

}  // namespace

MaskPlan FrozenScores::Missing(const MaskPlan& plan, const TrajectoryScores& known) {
  MaskPlan missing = plan;
  missing.target_count = 0;
  for (size_t b = 0; b < missing.blocks.size(); ++b) {
    const int64_t block = static_cast<int64_t>(b);
    BlockPlan& part = missing.blocks[b];
    if (known.count(FirstTokenKey(block)) > 0) part.first_token = -1;
    const auto is_known = [&](const ScoredState& state) {
      return known.count({block, state.step, 0}) > 0;
    };
    part.states.erase(std::remove_if(part.states.begin(), part.states.end(), is_known),
                      part.states.end());
  }
  ForEachState(missing, [&](const StateKey&, size_t targets) {
    missing.target_count += static_cast<int64_t>(targets);
  });
  return missing;
}

absl::Status FrozenScores::ScoreMissing(absl::Span<const objective::ScoreInput> inputs,
                                        absl::Span<TrajectoryScores* const> known) {
  torch::NoGradGuard no_grad;
  DTRPO_ASSIGN_OR_RETURN(const torch::Tensor scores,
                         objective::ScoreTargets(*model_, inputs, options_.boundary));
  DTRPO_ASSIGN_OR_RETURN(const torch::Tensor flat, model::TorchBoundary([&] {
                           return scores.to(torch::kCPU, torch::kFloat32).contiguous();
                         }));
  const float* next = flat.const_data_ptr<float>();
  for (size_t i = 0; i < inputs.size(); ++i) {
    ForEachState(*inputs[i].plan, [&](const StateKey& key, size_t targets) {
      (*known[i])[key].assign(next, next + targets);
      next += targets;
      ++scored_states_;
    });
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::vector<float>>> FrozenScores::Score(
    absl::Span<const objective::ScoreInput> inputs) {
  std::vector<TrajectoryScores> once(inputs.size());
  std::vector<TrajectoryScores*> known;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const bool keep = options_.boundary != trajectory::Boundary::kNoisy &&
                      HoldsSampledStates(inputs[i].plan->kind);
    known.push_back(keep ? &known_[inputs[i].trajectory->id] : &once[i]);
  }
  std::vector<MaskPlan> plans;
  plans.reserve(inputs.size());
  std::vector<objective::ScoreInput> missing;
  std::vector<TrajectoryScores*> into;
  int64_t rows = 0;
  const auto score = [&] {
    absl::Status status = missing.empty() ? absl::OkStatus() : ScoreMissing(missing, into);
    missing.clear();
    into.clear();
    rows = 0;
    return status;
  };
  for (size_t i = 0; i < inputs.size(); ++i) {
    MaskPlan plan = Missing(*inputs[i].plan, *known[i]);
    if (plan.target_count == 0) continue;
    const int64_t more = Rows(*inputs[i].trajectory, plan);
    if (rows + more > options_.max_rows) DTRPO_RETURN_IF_ERROR(score());
    rows += more;
    plans.push_back(std::move(plan));
    missing.push_back({inputs[i].trajectory, &plans.back()});
    into.push_back(known[i]);
  }
  DTRPO_RETURN_IF_ERROR(score());
  std::vector<std::vector<float>> result(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    ForEachState(*inputs[i].plan, [&](const StateKey& key, size_t) {
      const std::vector<float>& scores = known[i]->at(key);
      result[i].insert(result[i].end(), scores.begin(), scores.end());
    });
  }
  return result;
}

}  // namespace dtrpo::training

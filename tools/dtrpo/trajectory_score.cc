#include "tools/dtrpo/trajectory_score.h"

#include <utility>

#include "common/base/check.h"
#include "nlohmann/json.hpp"

namespace dtrpo::tools {
namespace {

using trajectory::MaskPlan;
using trajectory::MaskPlanOptions;
using trajectory::Trajectory;

bool IsExact(const MaskPlanOptions& options) {
  return options.kind == trajectory::PlanKind::kExact;
}

// A copy in which every committed token is a target.
Trajectory AllCommittedAsTargets(Trajectory t) {
  t.stop_index = -1;
  t.sampler.max_new_tokens = static_cast<int32_t>(t.response_tokens.size());
  return t;
}

TrajectoryScore MakeExactScore(const Trajectory& t, const MaskPlanOptions& options,
                               absl::Span<const double> values) {
  TrajectoryScore score;
  score.token_logprob.assign(t.response_tokens.size(), 0.0);
  size_t next = 0;
  for (const trajectory::BlockPlan& block : ScorePlan(t, options).blocks) {
    if (block.first_token >= 0) score.token_logprob[block.first_token] = values[next++];
    for (const trajectory::ScoredState& state : block.states) {
      for (const int64_t i : state.targets) score.token_logprob[i] = values[next++];
    }
  }
  DTRPO_CHECK_EQ(next, values.size());
  return score;
}

}  // namespace

MaskPlan ScorePlan(const Trajectory& t, const MaskPlanOptions& options) {
  return trajectory::MakeMaskPlan(IsExact(options) ? AllCommittedAsTargets(t) : t, options,
                                  /*use_index=*/0);
}

TrajectoryScore MakeScore(const Trajectory& t, const MaskPlanOptions& options,
                          absl::Span<const double> values) {
  TrajectoryScore score;
  if (IsExact(options)) score = MakeExactScore(t, options, values);
  score.id = t.id;
  size_t next = 0;
  const auto value = [&](int64_t i) {
    return IsExact(options) ? score.token_logprob[i] : values[next++];
  };
  // Of targets only, also in exact mode.
  const MaskPlan plan = trajectory::MakeMaskPlan(t, options, /*use_index=*/0);
  for (size_t b = 0; b < plan.blocks.size(); ++b) {
    const trajectory::BlockPlan& planned = plan.blocks[b];
    BlockScore block;
    block.block = static_cast<int64_t>(b);
    block.steps = planned.steps;
    if (planned.first_token >= 0) {
      block.first_token_term = value(planned.first_token);
      score.logprob += *block.first_token_term;
    }
    for (const trajectory::ScoredState& state : planned.states) {
      if (HoldsSampledStates(plan.kind)) {
        block.drawn_steps.push_back(state.step);
      } else {
        block.masked.push_back(static_cast<int64_t>(state.targets.size()));
      }
      block.terms.push_back(0);
      for (const int64_t i : state.targets) block.terms.back() += value(i);
      score.logprob += state.weight * block.terms.back();
    }
    score.blocks.push_back(std::move(block));
  }
  return score;
}

std::string ToJsonLine(const TrajectoryScore& score) {
  nlohmann::ordered_json line = {{"id", score.id}, {"logprob", score.logprob}};
  if (!score.token_logprob.empty()) line["token_logprob"] = score.token_logprob;
  line["blocks"] = nlohmann::ordered_json::array();
  for (const BlockScore& block : score.blocks) {
    nlohmann::ordered_json entry = {{"block", block.block},
                                    {"steps", block.steps},
                                    {"drawn_steps", block.drawn_steps},
                                    {"terms", block.terms},
                                    {"first_token_term", nullptr}};
    if (!block.masked.empty()) entry["masked"] = block.masked;
    if (block.first_token_term) entry["first_token_term"] = *block.first_token_term;
    line["blocks"].push_back(std::move(entry));
  }
  return line.dump();
}

}  // namespace dtrpo::tools

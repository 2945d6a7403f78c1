// Thread safety: pure functions. No torch.
//
// What `dtrpo score` says about one trajectory: its log-probability, exact or estimated from drawn
// steps, with the terms it is made of.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "common/trajectory/mask_plan.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::tools {

struct BlockScore {
  int64_t block = 0;                       // response block, from 0
  int32_t steps = 0;                       // T_b
  std::vector<int32_t> drawn_steps;        // in draw order; all T_b in exact mode
  std::vector<int64_t> masked;             // instead, for random masks: targets that each masks
  std::vector<double> terms;               // per drawn step or mask: sum over its targets
  std::optional<double> first_token_term;  // of the block-first token, if it is a target
};

struct TrajectoryScore {
  std::string id;
  // sum over blocks of (steps / drawn steps) * sum of terms, and of the block-first terms: exact
  // when every step was drawn, else an unbiased estimate. With draws from the sequence, steps and
  // drawn steps are those of all blocks together. vrpo: an unbiased estimate of the ELBO, terms
  // weighed by (targets of the block) / (masked * draws); random_mask: by 1 / draws.
  double logprob = 0;
  std::vector<double> token_logprob;  // exact mode only: per response token, 0 if never committed
  std::vector<BlockScore> blocks;
};

// The plan whose targets have to be scored for TrajectoryScore. Exact mode also scores committed
// tokens that aren't targets (behind the stop token or max_new_tokens).
trajectory::MaskPlan ScorePlan(const trajectory::Trajectory& t,
                               const trajectory::MaskPlanOptions& options);

// `values`: the log-probabilities of ScorePlan(t, options)'s targets, in plan order.
TrajectoryScore MakeScore(const trajectory::Trajectory& t,
                          const trajectory::MaskPlanOptions& options,
                          absl::Span<const double> values);

// {"id", "logprob", "token_logprob" (exact mode), "blocks": [{"block", "steps", "drawn_steps",
// "terms", "first_token_term" (null if there is none), "masked" (random masks only)}]}, without a
// line break.
std::string ToJsonLine(const TrajectoryScore& score);

}  // namespace dtrpo::tools

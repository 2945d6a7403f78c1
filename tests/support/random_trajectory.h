// Thread safety: pure functions.
//
// Valid trajectories with random tokens and random orders, for tests of whatever reads them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/philox.h"
#include "common/trajectory/block_layout.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::support {

struct TrajectoryShape {
  int64_t prompt_tokens = 5;
  int32_t max_new_tokens = 9;
  int32_t block_size = 4;
  int32_t max_steps = 3;    // of a block, at most
  bool token_shift = true;  // block-first tokens have step 0
  int32_t stop_index = -1;  // the response ends with this token's block; -1: at max_new_tokens
  // Blocks from the response start, as bidirectional models have them: no step-0 tokens, and the
  // whole canvas stays when a stop token ends it early.
  bool bidirectional = false;
  int32_t vocabulary_size = 13;
  int32_t mask_id = 12;  // no other token has it
  int32_t stop_id = 11;
};

inline trajectory::Trajectory RandomTrajectory(const TrajectoryShape& shape, uint64_t seed) {
  base::CounterRng rng(seed, /*stream=*/0);
  const auto token = [&] {
    return static_cast<int32_t>(rng.UniformInt(static_cast<uint64_t>(shape.stop_id)));
  };
  trajectory::Trajectory t;
  t.id = absl::StrCat("job/0/0/0/", seed);
  t.model_id = "tiny";
  t.block_size = shape.block_size;
  t.seed = seed;
  t.weights_version = {0};
  t.sampler.max_new_tokens = shape.max_new_tokens;
  if (shape.bidirectional) t.block_origin = trajectory::BlockOrigin::kResponse;
  const bool first_tokens = shape.token_shift && !shape.bidirectional;
  t.sampler.first_token =
      first_tokens ? trajectory::FirstToken::kSampled : trajectory::FirstToken::kNone;
  t.stop_index = shape.stop_index;
  const bool stopped = shape.stop_index >= 0;
  t.finish_reason = stopped ? trajectory::FinishReason::kStop : trajectory::FinishReason::kLength;
  for (int64_t i = 0; i < shape.prompt_tokens; ++i) t.prompt_tokens.push_back(token());
  const int64_t response = trajectory::CanvasTokens(
      shape.prompt_tokens,
      stopped && !shape.bidirectional ? shape.stop_index + 1 : shape.max_new_tokens,
      shape.block_size, t.block_origin);
  for (int64_t i = 0; i < response; ++i) t.response_tokens.push_back(token());
  if (stopped) t.response_tokens[shape.stop_index] = shape.stop_id;
  t.unmask_step.assign(response, 0);
  t.behaviour_logprob.assign(response, 0);
  for (const trajectory::ResponseBlock& block : ResponseBlocks(t)) {
    std::set<int32_t> used;
    for (int64_t i = block.begin; i < block.end; ++i) {
      const bool first = first_tokens && block.starts_in_response && i == block.begin;
      const bool reached = !stopped || block.begin <= shape.stop_index;
      const bool committed =
          reached && (!stopped || i <= shape.stop_index || rng.Uniform01() < 0.5);
      if (!committed) {
        t.unmask_step[i] = trajectory::kNeverCommitted;
        t.response_tokens[i] = shape.mask_id;
        continue;
      }
      if (!first) {
        t.unmask_step[i] =
            1 + static_cast<int32_t>(rng.UniformInt(static_cast<uint64_t>(shape.max_steps)));
        used.insert(t.unmask_step[i]);
      }
      t.behaviour_logprob[i] = static_cast<float>(-0.1 - rng.Uniform01());
    }
    // Steps are counted without gaps.
    for (int64_t i = block.begin; i < block.end; ++i) {
      if (t.unmask_step[i] < 1) continue;
      t.unmask_step[i] =
          1 + static_cast<int32_t>(std::distance(used.begin(), used.find(t.unmask_step[i])));
    }
  }
  return t;
}

}  // namespace dtrpo::support

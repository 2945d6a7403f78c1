// Small valid pairs for tests. Pure functions.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::replay {

// Four prompt tokens and one block of four response tokens.
inline trajectory::Trajectory TestTrajectory(const std::string& id, int32_t first_response_token,
                                             int64_t version) {
  trajectory::Trajectory t;
  t.id = id;
  t.model_id = "test";
  t.prompt_tokens = {1, 2, 3, 4};
  t.response_tokens = {first_response_token, 6, 7, 8};
  t.unmask_step = {1, 2, 2, 3};
  t.behaviour_logprob = {-0.5f, -0.25f, -0.125f, -1.0f};
  t.block_size = 4;
  t.sampler.max_new_tokens = 4;
  t.sampler.first_token = trajectory::FirstToken::kNone;
  t.weights_version = {version};
  return t;
}

inline trajectory::PreferencePair TestPair(const std::string& id, int64_t version) {
  return {.id = id,
          .chosen = TestTrajectory(absl::StrCat(id, "/chosen"), 5, version),
          .rejected = TestTrajectory(absl::StrCat(id, "/rejected"), 9, version)};
}

}  // namespace dtrpo::replay

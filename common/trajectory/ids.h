// Thread safety: pure functions. Ids derive from what they name, so a repeated attempt at the same
// work has the same id.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace dtrpo::trajectory {

// "<job>/<epoch>/<prompt>/<attempt>/<sample>"
std::string TrajectoryId(absl::string_view job_id, int64_t epoch, int64_t prompt, int32_t attempt,
                         int32_t sample);

// "<job>/<epoch>/<prompt>/<attempt>/p<pair>"
std::string PairId(absl::string_view job_id, int64_t epoch, int64_t prompt, int32_t attempt,
                   int32_t pair);

// The sampler's seed of that trajectory.
uint64_t TrajectorySeed(uint64_t job_seed, absl::string_view trajectory_id);

}  // namespace dtrpo::trajectory

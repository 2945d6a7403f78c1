// Named places in production code where a test can make things go wrong. Thread-safe.
// Nothing is armed unless configuration says so; an unarmed point costs one relaxed load.
//
//   DTRPO_FAULT_POINT("replay.before_reply");          // in a function that returns Status(Or)
//   base::HitFaultPoint("learner.after_step").IgnoreError();   // elsewhere: kill and delay only
//
// A spec arms one point: "name:action[@hit]". Actions: `kill` (SIGKILL to this process), `error`
// (UNAVAILABLE is returned), `delay:MS`. `@3` acts on the third hit only (counted per point from
// 1); without it every hit acts. Examples: "replay.before_reply:kill@3", "rollout.push:delay:250".
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace dtrpo::base {

// The environment variable read by ArmFaultPointsFromEnvironment: specs joined by commas.
inline constexpr char kFaultPointsVariable[] = "DTRPO_FAULT_POINTS";

// Adds to what is armed; INVALID_ARGUMENT names the bad spec and then nothing is armed by this
// call.
absl::Status ArmFaultPoints(const std::vector<std::string>& specs);
absl::Status ArmFaultPointsFromEnvironment();
void DisarmFaultPoints();

// How often an armed point was reached; 0 for a point that isn't armed.
uint64_t FaultPointHits(absl::string_view name);

namespace internal {
extern std::atomic<bool> any_fault_point_armed;
absl::Status HitArmedFaultPoint(absl::string_view name);
}  // namespace internal

inline absl::Status HitFaultPoint(absl::string_view name) {
  if (!internal::any_fault_point_armed.load(std::memory_order_relaxed)) [[likely]] {
    return absl::OkStatus();
  }
  return internal::HitArmedFaultPoint(name);
}

}  // namespace dtrpo::base

#define DTRPO_FAULT_POINT(name)                                                                 \
  do {                                                                                          \
    if (::absl::Status dtrpo_fault_ = ::dtrpo::base::HitFaultPoint(name); !dtrpo_fault_.ok()) { \
      return dtrpo_fault_;                                                                      \
    }                                                                                           \
  } while (false)

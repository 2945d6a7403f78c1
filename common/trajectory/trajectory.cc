#include "common/trajectory/trajectory.h"

#include <algorithm>

namespace dtrpo::trajectory {
namespace {

int64_t SizeBytes(const Trajectory& t) {
  return static_cast<int64_t>(
      sizeof(Trajectory) + t.id.size() + t.model_id.size() + t.text.size() +
      t.reward_reason.size() + t.sampler.unmask.size() + t.sampler.confidence.size() +
      sizeof(int32_t) * (t.prompt_tokens.size() + t.response_tokens.size() + t.unmask_step.size()) +
      sizeof(float) * t.behaviour_logprob.size() + sizeof(int64_t) * t.weights_version.size());
}

}  // namespace

int64_t TargetCount(const Trajectory& t) {
  int64_t count =
      std::min<int64_t>(static_cast<int64_t>(t.response_tokens.size()), t.sampler.max_new_tokens);
  if (t.stop_index >= 0) count = std::min<int64_t>(count, int64_t{t.stop_index} + 1);
  return std::max<int64_t>(count, 0);
}

bool IsTarget(const Trajectory& t, int64_t i) {
  return i >= 0 && i < TargetCount(t) && t.unmask_step[i] != kNeverCommitted;
}

int64_t OldestVersion(const Trajectory& t) {
  if (t.external || t.weights_version.empty()) return -1;
  return *std::min_element(t.weights_version.begin(), t.weights_version.end());
}

int64_t SizeBytes(const PreferencePair& pair) {
  return static_cast<int64_t>(sizeof(pair.id) + pair.id.size()) + SizeBytes(pair.chosen) +
         SizeBytes(pair.rejected);
}

}  // namespace dtrpo::trajectory

// Hand-written inputs of unmask policies.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "common/diffusion/unmask_policy.h"

namespace dtrpo::diffusion {

// Positions 100, 101, ... with these confidences.
inline std::vector<MaskedPosition> WithConfidences(const std::vector<float>& confidences) {
  std::vector<MaskedPosition> masked;
  for (const float confidence : confidences) {
    masked.push_back(
        {.position = 100 + static_cast<int64_t>(masked.size()), .confidence = confidence});
  }
  return masked;
}

inline std::vector<MaskedPosition> WithEntropies(const std::vector<float>& entropies) {
  std::vector<MaskedPosition> masked = WithConfidences(entropies);
  for (MaskedPosition& m : masked) m.entropy = std::exchange(m.confidence, 0.5f);
  return masked;
}

inline std::vector<MaskedPosition> WithMargins(const std::vector<float>& margins) {
  std::vector<MaskedPosition> masked = WithConfidences(margins);
  for (MaskedPosition& m : masked) m.margin = std::exchange(m.confidence, 0.5f);
  return masked;
}

// Unmasks all of them, every step on the same numbers. The positions of each step, 0 for the first.
inline std::vector<std::vector<int64_t>> PositionsPerStep(const UnmaskPolicy& policy,
                                                          std::vector<MaskedPosition> masked,
                                                          uint64_t seed = 0) {
  std::vector<std::vector<int64_t>> steps;
  SubBlockProgress progress{static_cast<int32_t>(masked.size()), 0, seed};
  while (!masked.empty()) {
    const Selection selection = policy.Select(progress, masked);
    progress.step += selection.steps;
    std::vector<int64_t>& positions = steps.emplace_back();
    for (auto i = selection.chosen.rbegin(); i != selection.chosen.rend(); ++i) {
      positions.insert(positions.begin(), masked[*i].position - 100);
      masked.erase(masked.begin() + *i);
    }
  }
  return steps;
}

// How many tokens each step commits when `masks` positions are to be unmasked.
inline std::vector<size_t> TokensPerStep(const UnmaskPolicy& policy, size_t masks,
                                         uint64_t seed = 0) {
  std::vector<size_t> counts;
  const auto masked = WithConfidences(std::vector<float>(masks, 0.5f));
  for (const auto& positions : PositionsPerStep(policy, masked, seed)) {
    counts.push_back(positions.size());
  }
  return counts;
}

}  // namespace dtrpo::diffusion

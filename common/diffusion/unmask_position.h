// Thread safety: const and stateless.
//
// Policies that don't look at the candidates.
#pragma once

#include "common/diffusion/unmask_policy.h"

namespace dtrpo::diffusion {

// The leftmost masks. Source: JetAstra/SDAR, generate.py (sequential).
class Sequential : public UnmaskPolicy {
 public:
  // REQUIRES: tokens >= 1.
  explicit Sequential(int32_t tokens) : tokens_(tokens) {}
  Selection Select(const SubBlockProgress& progress,
                   absl::Span<const MaskedPosition> masked) const override;

 private:
  const int32_t tokens_;
};

// Masks by chance, each as likely: those with the highest OrderUniform. Source: ML-GSAI/LLaDA,
// generate.py (remasking random).
class RandomPositions : public UnmaskPolicy {
 public:
  // REQUIRES: tokens >= 1.
  explicit RandomPositions(int32_t tokens) : tokens_(tokens) {}
  Selection Select(const SubBlockProgress& progress,
                   absl::Span<const MaskedPosition> masked) const override;

 private:
  const int32_t tokens_;
};

}  // namespace dtrpo::diffusion

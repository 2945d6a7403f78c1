// Thread safety: const and stateless.
#pragma once

#include "common/diffusion/unmask_policy.h"

namespace dtrpo::diffusion {

// By rising entropy, the longest prefix whose entropies sum up to the bound at most; at least one.
// The sum bounds what the positions can tell about one another, hence the error of committing them
// together (Ben-Hamu et al., "Accelerated sampling from masked diffusion models via entropy bounded
// unmasking", 2025). Source: JetAstra/SDAR, its engines' strategy entropy_bounded.
class EntropyBound : public UnmaskPolicy {
 public:
  explicit EntropyBound(double bound) : bound_(bound) {}
  PolicyNeeds needs() const override { return {.entropy = true}; }
  Selection Select(const SubBlockProgress& progress,
                   absl::Span<const MaskedPosition> masked) const override;

 private:
  const double bound_;
};

}  // namespace dtrpo::diffusion

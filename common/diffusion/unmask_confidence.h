// Thread safety: const and stateless.
//
// Policies that rank positions by the confidence of their candidates.
#pragma once

#include "common/diffusion/unmask_policy.h"

namespace dtrpo::diffusion {

// Static low confidence. Source: ML-GSAI/LLaDA, generate.py (get_num_transfer_tokens);
// JetAstra/SDAR, generate.py (low_confidence_static).
class StaticSteps : public UnmaskPolicy {
 public:
  // REQUIRES: steps >= 1.
  explicit StaticSteps(int32_t steps) : steps_(steps) {}
  Selection Select(const SubBlockProgress& progress,
                   absl::Span<const MaskedPosition> masked) const override;

 private:
  const int32_t steps_;
};

// Dynamic threshold: all above it, and at least the most confident ones. Source: JetAstra/SDAR,
// generate.py (low_confidence_dynamic: at_least = block size / steps); with at_least = 1
// NVlabs/Fast-dLLM, v2.
class Threshold : public UnmaskPolicy {
 public:
  // REQUIRES: at_least >= 1.
  explicit Threshold(double threshold, int32_t at_least = 1)
      : threshold_(threshold), at_least_(at_least) {}
  Selection Select(const SubBlockProgress& progress,
                   absl::Span<const MaskedPosition> masked) const override;

 private:
  const double threshold_;
  const int32_t at_least_;
};

// Factor-based parallel decoding. Source: NVlabs/Fast-dLLM, v1 llada/generate.py
// (get_transfer_index_dynamic), whose loop also commits the last remaining rank when only that one
// fails its threshold; this one keeps to the rule.
class Factor : public UnmaskPolicy {
 public:
  explicit Factor(double factor) : factor_(factor) {}
  Selection Select(const SubBlockProgress& progress,
                   absl::Span<const MaskedPosition> masked) const override;

 private:
  const double factor_;
};

}  // namespace dtrpo::diffusion

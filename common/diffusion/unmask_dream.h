// Thread safety: const and stateless.
#pragma once

#include "common/diffusion/unmask_policy.h"

namespace dtrpo::diffusion {

// Dream's schedule and orders. Source: Dream-org/Dream-v0-Instruct-7B, generation_utils.py
// (_sample, sample_tokens). There a step may commit nothing and runs the model on the same canvas
// once more; here such steps are passed over without a forward.
//
// Of the best by rank n * (1 - s/t), rounded down, are committed, the last step commits the rest.
// With alg_temp they are drawn without replacement with probabilities softmax(score / alg_temp): as
// the highest score / alg_temp + Gumbel noise.
class Dream : public UnmaskPolicy {
 public:
  explicit Dream(const trajectory::DreamSpec& spec) : spec_(spec) {}
  PolicyNeeds needs() const override {
    return {.entropy = spec_.order == trajectory::DreamOrder::kEntropy,
            .margin = spec_.order == trajectory::DreamOrder::kTopkMargin};
  }
  Selection Select(const SubBlockProgress& progress,
                   absl::Span<const MaskedPosition> masked) const override;

 private:
  // Share of the masks that `step` unmasks.
  double Share(int32_t step) const;
  std::vector<int32_t> ByChance(const SubBlockProgress& progress, int32_t step,
                                absl::Span<const MaskedPosition> masked) const;
  std::vector<int32_t> Best(const SubBlockProgress& progress, int32_t step,
                            absl::Span<const MaskedPosition> masked) const;
  double Score(const MaskedPosition& masked) const;

  const trajectory::DreamSpec spec_;
};

}  // namespace dtrpo::diffusion

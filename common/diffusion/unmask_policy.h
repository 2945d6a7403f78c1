// Thread safety: const and stateless after construction; share freely. No torch.
//
// Which masked positions of a sub-block a denoising step commits, from the confidences of their
// candidates alone. Policies are pure, so hand-written numbers test them.
//   steps:k        static low confidence (LLaDA, SDAR): k steps per sub-block, n div k tokens a
//                  step, the remainder to the first steps
//   threshold:tau  dynamic (Fast-dLLM, SDAR): all above tau, else the most confident one
// Ties go to the lowest position.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace dtrpo::diffusion {

// Where sampling stands inside a sub-block.
struct SubBlockProgress {
  int32_t masks_at_start = 0;  // masked positions when the sub-block began
  int32_t step = 0;            // steps taken in this sub-block so far
};

class UnmaskPolicy {
 public:
  virtual ~UnmaskPolicy() = default;

  // Indices into `confidences` to commit, ascending, never empty. `confidences` [n] holds the
  // probability of the candidate of each position still masked, by position. REQUIRES: n >= 1.
  virtual std::vector<int32_t> Select(const SubBlockProgress& progress,
                                      absl::Span<const float> confidences) const = 0;
};

class StaticSteps : public UnmaskPolicy {
 public:
  // REQUIRES: steps >= 1.
  explicit StaticSteps(int32_t steps) : steps_(steps) {}
  std::vector<int32_t> Select(const SubBlockProgress& progress,
                              absl::Span<const float> confidences) const override;

 private:
  int32_t steps_;
};

class Threshold : public UnmaskPolicy {
 public:
  explicit Threshold(float threshold) : threshold_(threshold) {}
  std::vector<int32_t> Select(const SubBlockProgress& progress,
                              absl::Span<const float> confidences) const override;

 private:
  float threshold_;
};

// "steps:k" with k >= 1, or "threshold:tau" with tau in [0, 1]. INVALID_ARGUMENT quoting `spec`.
absl::StatusOr<std::unique_ptr<UnmaskPolicy>> ParseUnmaskPolicy(absl::string_view spec);

}  // namespace dtrpo::diffusion

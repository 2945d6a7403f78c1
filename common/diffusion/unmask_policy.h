// Thread safety: policies are const and stateless after construction; share freely. No torch.
//
// Which masked positions of a sub-block a denoising step commits, from numbers about their
// candidates alone: policies are pure, so hand-written numbers test them. What is written in a job
// is in common/trajectory/unmask_spec.h. Ties always go to the lowest position.
//
//   unmask_confidence.h     steps, threshold, factor
//   unmask_entropy_bound.h  entropy
//   unmask_dream.h          dream
//   unmask_position.h       sequential, random
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/trajectory/unmask_spec.h"

namespace dtrpo::diffusion {

// Where sampling stands inside a sub-block.
struct SubBlockProgress {
  int32_t masks_at_start = 0;  // masked positions when the sub-block began
  int32_t step = 0;            // steps of the schedule that are past, skipped ones included
  uint64_t seed = 0;           // of the sequence; policies draw by OrderUniform()
};

// A position still masked, and its candidate. Which distribution the numbers are of, is the
// sampler's `confidence`. Those that the policy doesn't need may be 0.
struct MaskedPosition {
  int64_t position = 0;  // counts the prompt
  float confidence = 0;  // probability of the candidate
  float entropy = 0;     // nats
  float margin = 0;      // largest probability less the second largest
};

struct Selection {
  std::vector<int32_t> chosen;  // indices of the positions to commit, ascending, never empty
  int32_t steps = 1;            // of the schedule: this one, and empty ones skipped before it
};

// What a policy reads beyond the confidence: both cost a pass over the vocabulary.
struct PolicyNeeds {
  bool entropy = false;
  bool margin = false;
};

class UnmaskPolicy {
 public:
  virtual ~UnmaskPolicy() = default;

  virtual PolicyNeeds needs() const { return {}; }

  // `masked`: all masked positions of the sub-block, ascending. REQUIRES: not empty; `progress` is
  // what the selections before have added up to.
  virtual Selection Select(const SubBlockProgress& progress,
                           absl::Span<const MaskedPosition> masked) const = 0;
};

// A number in [0, 1) for `position` at a step of the schedule, the same whatever the batch.
// Counter: word `step` of the seed's stream 2^63 + position; tokens are drawn from streams below
// 2^63. A position is in one sub-block only, so no word is used twice.
double OrderUniform(uint64_t seed, int64_t position, int32_t step);

std::unique_ptr<UnmaskPolicy> MakeUnmaskPolicy(const trajectory::UnmaskSpec& spec);

// ParseUnmaskSpec and MakeUnmaskPolicy.
absl::StatusOr<std::unique_ptr<UnmaskPolicy>> ParseUnmaskPolicy(absl::string_view text);

}  // namespace dtrpo::diffusion

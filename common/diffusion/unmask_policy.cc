#include "common/diffusion/unmask_policy.h"

#include <variant>

#include "common/base/philox.h"
#include "common/base/status_macros.h"
#include "common/diffusion/unmask_confidence.h"
#include "common/diffusion/unmask_dream.h"
#include "common/diffusion/unmask_entropy_bound.h"
#include "common/diffusion/unmask_position.h"

namespace dtrpo::diffusion {
namespace {

struct Maker {
  using Policy = std::unique_ptr<UnmaskPolicy>;

  Policy operator()(const trajectory::StepsSpec& spec) const {
    return std::make_unique<StaticSteps>(spec.steps);
  }
  Policy operator()(const trajectory::ThresholdSpec& spec) const {
    return std::make_unique<Threshold>(spec.threshold, spec.at_least);
  }
  Policy operator()(const trajectory::FactorSpec& spec) const {
    return std::make_unique<Factor>(spec.factor);
  }
  Policy operator()(const trajectory::EntropySpec& spec) const {
    return std::make_unique<EntropyBound>(spec.bound);
  }
  Policy operator()(const trajectory::DreamSpec& spec) const {
    return std::make_unique<Dream>(spec);
  }
  Policy operator()(const trajectory::SequentialSpec& spec) const {
    return std::make_unique<Sequential>(spec.tokens);
  }
  Policy operator()(const trajectory::RandomSpec& spec) const {
    return std::make_unique<RandomPositions>(spec.tokens);
  }
};

}  // namespace

double OrderUniform(uint64_t seed, int64_t position, int32_t step) {
  constexpr uint64_t kOrderStreams = uint64_t{1} << 63;
  return base::CounterRng(seed, kOrderStreams + static_cast<uint64_t>(position)).Uniform01At(step);
}

std::unique_ptr<UnmaskPolicy> MakeUnmaskPolicy(const trajectory::UnmaskSpec& spec) {
  return std::visit(Maker(), spec);
}

absl::StatusOr<std::unique_ptr<UnmaskPolicy>> ParseUnmaskPolicy(absl::string_view text) {
  DTRPO_ASSIGN_OR_RETURN(const trajectory::UnmaskSpec spec, trajectory::ParseUnmaskSpec(text));
  return MakeUnmaskPolicy(spec);
}

}  // namespace dtrpo::diffusion

// Thread safety: one thread at a time per sampler; the model is shared and const.
//
// Samples block-diffusion trajectories. Sequences are independent state machines that share forwards: a finished one leaves
// and the next takes its place; results don't depend on who shares the batch (counter-based RNG per sequence).
// Rules: "Canvas", "Step numbers", "Static policy", "Log-probability" of ARCHITECTURE.md (after Fast-dLLM-v2's released sampler).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/model/transformer.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::diffusion {

struct SampleRequest {
  std::string id;                       // becomes the trajectory's id
  std::vector<int32_t> prompt_tokens;   // not empty
  uint64_t seed = 0;
};

struct SamplerOptions {
  trajectory::SamplerParameters parameters;
  int64_t weights_version = 0;
  std::string model_id;
  int32_t batch_sequences = 64;         // sequences that share a forward at most
};

struct SampleStatistics {
  int64_t sequences = 0;
  int64_t tokens = 0;                   // committed targets
  int64_t forwards = 0;                 // model calls
  int64_t sequence_forwards = 0;        // sum over sequences of the forwards each took part in (NFE)
};

class BlockSampler {
 public:
  // INVALID_ARGUMENT naming the parameter that makes no sense.
  static absl::StatusOr<std::unique_ptr<BlockSampler>> Create(const model::Transformer* model, SamplerOptions options);

  // Trajectories in the order of the requests. `keep_going` is asked between forwards; when it says no, CANCELLED.
  absl::StatusOr<std::vector<trajectory::Trajectory>> Sample(absl::Span<const SampleRequest> requests,
                                                             const std::function<bool()>& keep_going = nullptr);
  const SampleStatistics& statistics() const;
};

}  // namespace dtrpo::diffusion

// Thread safety: one thread at a time per sampler; the model is shared and const.
//
// Samples block-diffusion trajectories. Sequences are independent state machines that share
// forwards: a finished one leaves and the next takes its place; results don't depend on who shares
// the batch (counter-based RNG per sequence). Samples of one prompt, and prompts with a common
// beginning, share the cache pages of their whole blocks.
// Rules: "Canvas", "Step numbers", "Unmask policies", "Log-probability" of ARCHITECTURE.md (after
// Fast-dLLM-v2's released sampler).
//
// Bidirectional models (LLaDA, Dream) go through the same engine without cache and prompt sharing:
// a state is one forward over prompt and whole canvas. Their blocks begin at the response and have
// the descriptor's block size; where that is 0 the whole canvas is one block. No approximate cache
// is offered.
//
//   SequenceState x n --rows--> StepBatch --> Transformer --hidden--> TokenSampler --candidates--+
//        ^                        |  ^                                                           |
//        |                    CachePages                                                         |
//        +---------------------------------------------------------------------------------------+
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/diffusion/sequence_state.h"
#include "common/diffusion/token_sampler.h"
#include "common/diffusion/unmask_policy.h"
#include "common/model/transformer.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::diffusion {

struct SampleRequest {
  std::string id;                      // becomes the trajectory's id
  std::vector<int32_t> prompt_tokens;  // not empty
  uint64_t seed = 0;
  int32_t max_new_tokens = 0;  // 0: the sampler's
};

// A block of a response whose tokens stand for good. A response's blocks come in order, and each of
// its targets (ARCHITECTURE.md, "Targets") is in one of them.
struct FinishedBlock {
  int64_t request = 0;               // index into Sample's requests
  int64_t begin = 0;                 // response index of the first token
  absl::Span<const int32_t> tokens;  // borrowed until the observer returns; may be empty if last
  bool last = false;                 // the response is finished
};
// Called between forwards, on the thread that called Sample.
using BlockObserver = std::function<void(const FinishedBlock&)>;

struct SamplerOptions {
  // first_token is kNone or kSampled for models without block-first tokens: those without token
  // shift, and bidirectional ones (recorded as kNone).
  trajectory::SamplerParameters parameters;
  int64_t weights_version = 0;
  std::string model_id;
  int32_t batch_sequences = 64;  // sequences that share a forward at most
  // Keys and values held at once, over all sequences. A sequence begins when pages for its whole
  // length are free; what one call needs is allocated when it begins.
  int64_t max_cache_bytes = int64_t{4} << 30;
  // Answers go on past stop tokens, to max_new_tokens. For looking at a model: such trajectories
  // don't say so.
  bool ignore_stop = false;
  // Rows of prompts in one forward: bounds its memory, and how long running sequences wait for it.
  // Bidirectional models: rows of whole sequences that share a forward.
  int64_t max_prefill_rows = 4096;
};

struct SampleStatistics {
  int64_t sequences = 0;          // finished
  int64_t tokens = 0;             // committed targets of those
  int64_t forwards = 0;           // model calls
  int64_t sequence_forwards = 0;  // sum over sequences of the forwards their own blocks took (NFE)
  int64_t cache_bytes = 0;        // of keys and values, held by the sequences of the last forward
};

class BlockSampler {
 public:
  // INVALID_ARGUMENT naming the parameter that makes no sense. `model` outlives the sampler.
  static absl::StatusOr<std::unique_ptr<BlockSampler>> Create(const model::Transformer* model,
                                                              SamplerOptions options);

  // Trajectories in the order of the requests. `keep_going` is asked between forwards; when it says
  // no, CANCELLED. INVALID_ARGUMENT naming the request, INTERNAL for what LibTorch throws and for
  // logits that aren't finite.
  absl::StatusOr<std::vector<trajectory::Trajectory>> Sample(
      absl::Span<const SampleRequest> requests, const std::function<bool()>& keep_going = nullptr,
      const BlockObserver& on_block = nullptr);

  // In effect: first_token as the model has it.
  const trajectory::SamplerParameters& parameters() const { return options_.parameters; }
  // Summed over all calls; up to date also when read from `keep_going`.
  const SampleStatistics& statistics() const { return statistics_; }

 private:
  friend class SamplingRun;

  BlockSampler(const model::Transformer* model, SamplerOptions options,
               std::unique_ptr<UnmaskPolicy> policy);
  absl::Status CheckRequest(const SampleRequest& request) const;

  const model::Transformer* const model_;
  const SamplerOptions options_;
  const std::unique_ptr<UnmaskPolicy> policy_;
  const SequenceRules rules_;
  const TokenSampler token_sampler_;
  std::unique_ptr<model::KvCache> cache_;  // kept between calls while it is large enough
  SampleStatistics statistics_;
};

}  // namespace dtrpo::diffusion

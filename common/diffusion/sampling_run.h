// Thread safety: one thread at a time. Used by BlockSampler only.
//
// One call of BlockSampler::Sample. Each Step():
//   1. admits requests while there are slots,
//   2. collects rows: prompts still to be prefilled (max_prefill_rows of them at most), and the
//      block of each sequence whose prompt is there; or, bidirectional, all sequences whole,
//   3. runs the model over all of them, and its head over the rows that predict something,
//   4. hands every sequence its candidates; finished ones become trajectories and free their slots.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <list>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/diffusion/block_sampler.h"
#include "common/diffusion/cache_slots.h"
#include "common/diffusion/sequence_state.h"
#include "common/diffusion/step_batch.h"
#include "common/diffusion/token_sampler.h"

namespace dtrpo::diffusion {

class SamplingRun {
 public:
  // All outlive the run. REQUIRES: at least one request, all valid. `on_block` may be empty.
  SamplingRun(BlockSampler* sampler, absl::Span<const SampleRequest> requests,
              const BlockObserver& on_block);

  // Makes sure the cache is large enough. Call once, before Step().
  absl::Status Prepare();
  absl::Status Step();
  bool done() const { return finished_ == static_cast<int64_t>(requests_.size()); }
  std::vector<trajectory::Trajectory> TakeTrajectories() { return std::move(trajectories_); }

 private:
  struct Active {
    SequenceState state;
    int64_t request = 0;
    CacheSlots::Slot slot;
    int64_t observed = 0;  // targets that on_block has seen
  };
  // A prompt slab whose last row is in this forward.
  struct FilledPrompt {
    int32_t prompt = 0;
    int64_t row = 0;
  };
  // A token query and where its hidden row comes from.
  struct Source {
    const SampleRequest* request = nullptr;
    TokenQuery query;
    int64_t row = 0;      // in this forward; unused if prompt >= 0
    int32_t prompt = -1;  // the stored last row of this slab
  };

  void Admit();
  bool HasRoomFor(const SequenceState& state) const;
  std::vector<FilledPrompt> AddPrompts(StepBatch* batch);
  std::vector<Source> AddSequences(StepBatch* batch);
  absl::StatusOr<std::vector<Candidate>> RunModel(const StepBatch& batch,
                                                  absl::Span<const FilledPrompt> filled,
                                                  absl::Span<const Source> sources);
  static std::vector<RowDraw> DrawsOf(absl::Span<const Source> sources);
  absl::Status Distribute(absl::Span<const Source> sources, absl::Span<const Candidate> candidates);
  void Observe(Active& active);
  void Finish(const Active& active);
  bool IsReady(const Active& active) const { return slots_.IsFilled(active.slot); }

  BlockSampler* const sampler_;
  const absl::Span<const SampleRequest> requests_;
  const BlockObserver& on_block_;
  CacheSlots slots_;
  std::list<Active> active_;                     // in order of admission
  std::vector<torch::Tensor> last_prompt_rows_;  // per prompt slab, hidden [1, D]
  std::vector<trajectory::Trajectory> trajectories_;
  size_t next_request_ = 0;
  int64_t finished_ = 0;
};

}  // namespace dtrpo::diffusion

// Thread safety: one thread at a time. Used by BlockSampler only.
//
// One call of BlockSampler::Sample. Each Step():
//   1. admits requests, in order, while a place in the batch and pages for all their blocks are
//      free,
//   2. collects rows: prompts still to be prefilled (max_prefill_rows of them at most), and the
//      block of each sequence whose prompt is there; or, bidirectional, all sequences whole,
//   3. runs the model over all of them, and its head over the rows that predict something,
//   4. hands every sequence its candidates; finished ones become trajectories and free their pages.
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
#include "common/diffusion/cache_pages.h"
#include "common/diffusion/sequence_state.h"
#include "common/diffusion/step_batch.h"
#include "common/diffusion/token_sampler.h"

namespace dtrpo::diffusion {

class SamplingRun {
 public:
  // All outlive the run. REQUIRES: at least one request, all valid. `on_block` may be empty.
  SamplingRun(BlockSampler* sampler, absl::Span<const SampleRequest> requests,
              const BlockObserver& on_block);

  // Makes sure that the sampler's cache is large enough. Call once, before Step().
  // INVALID_ARGUMENT naming a request that doesn't fit into max_cache_bytes.
  absl::Status Prepare();
  absl::Status Step();
  bool done() const { return finished_ == static_cast<int64_t>(requests_.size()); }
  std::vector<trajectory::Trajectory> TakeTrajectories() { return std::move(trajectories_); }

 private:
  struct Active {
    SequenceState state;
    int64_t request = 0;
    CachePages::Table pages = {};  // empty if bidirectional
    int64_t prompt_pages = 0;      // the first of them: the prompt's whole blocks
    int64_t observed = 0;          // targets that on_block has seen
  };
  // A token query and where its hidden row comes from.
  struct Source {
    const SampleRequest* request = nullptr;
    TokenQuery query;
    int32_t page = -1;  // >= 0: the stored last row of this prompt page; else this forward's row
  };

  int64_t BlocksOf(const SampleRequest& request) const;
  void Admit();
  bool HasRoomFor(const SequenceState& state) const;
  // Pages whose last row is an output of the forward, in the order of the outputs.
  std::vector<int64_t> AddPrompts(StepBatch* batch);
  std::vector<Source> AddSequences(StepBatch* batch);
  absl::StatusOr<std::vector<Candidate>> RunModel(const StepBatch& batch,
                                                  const std::vector<int64_t>& filled,
                                                  absl::Span<const Source> sources);
  torch::Tensor Forward(const StepBatch& batch, const std::vector<int64_t>& filled);
  torch::Tensor HiddenOf(absl::Span<const Source> sources, const torch::Tensor& outputs) const;
  static std::vector<RowDraw> DrawsOf(absl::Span<const Source> sources);
  absl::Status Distribute(absl::Span<const Source> sources, absl::Span<const Candidate> candidates);
  void Observe(Active& active);
  void Finish(const Active& active);
  bool IsReady(const Active& active) const {
    return active.prompt_pages == 0 || pages_.filled(active.pages[active.prompt_pages - 1]);
  }

  BlockSampler* const sampler_;
  const SequenceRules& rules_;
  const absl::Span<const SampleRequest> requests_;
  const BlockObserver& on_block_;
  CachePages pages_;
  torch::Tensor
      last_rows_;  // [pages, D] last hidden row of each prompt page; with token shift only
  std::list<Active> active_;  // in order of admission
  std::vector<trajectory::Trajectory> trajectories_;
  size_t next_request_ = 0;
  int64_t finished_ = 0;
  int64_t page_bytes_ = 0;  // 0 if bidirectional
};

}  // namespace dtrpo::diffusion

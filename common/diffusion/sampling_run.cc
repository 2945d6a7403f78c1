#include "common/diffusion/sampling_run.h"

#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/philox.h"
#include "common/base/status_macros.h"
#include "common/model/device.h"
#include "common/model/torch_boundary.h"
#include "common/trajectory/block_layout.h"

namespace dtrpo::diffusion {
namespace {

using Stage = SequenceState::Stage;

// Logits held at once, in elements: 16 MiB in float32, four times that while a temperature is
// applied; 27 rows of a vocabulary of 152 000.
constexpr int64_t kMaxLogits = int64_t{1} << 22;

}  // namespace

SamplingRun::SamplingRun(BlockSampler* sampler, absl::Span<const SampleRequest> requests,
                         const BlockObserver& on_block)
    : sampler_(sampler),
      rules_(sampler->rules_),
      requests_(requests),
      on_block_(on_block),
      pages_(sampler->rules_.block_size, 0),
      trajectories_(requests.size()) {}

// Of prompt and canvas; the cache holds one page for each.
int64_t SamplingRun::BlocksOf(const SampleRequest& request) const {
  const int64_t prompt = static_cast<int64_t>(request.prompt_tokens.size());
  const int32_t max_new_tokens =
      request.max_new_tokens > 0 ? request.max_new_tokens : rules_.max_new_tokens;
  return (prompt + trajectory::CanvasTokens(prompt, max_new_tokens, rules_.block_size,
                                            trajectory::BlockOrigin::kAbsolute)) /
         rules_.block_size;
}

absl::Status SamplingRun::Prepare() {
  if (rules_.bidirectional) return absl::OkStatus();
  const model::Transformer& model = *sampler_->model_;
  const torch::Dtype dtype = model.dtype();
  page_bytes_ = model::KvCache::RowBytes(model.descriptor(), dtype) * rules_.block_size;
  int64_t most = 0, all = 0;
  for (const SampleRequest& request : requests_) {
    const int64_t blocks = BlocksOf(request);
    if (blocks > sampler_->options_.max_cache_bytes / page_bytes_) {
      return absl::InvalidArgumentError(absl::StrCat(
          "request '", request.id, "': its ", blocks * rules_.block_size, " positions need ",
          blocks * page_bytes_, " bytes of keys and values, more than max_cache_bytes ",
          sampler_->options_.max_cache_bytes));
    }
    most = std::max(most, blocks);
    all += blocks;
  }
  const int64_t pages = std::min({all, most * sampler_->options_.batch_sequences,
                                  sampler_->options_.max_cache_bytes / page_bytes_});
  const int64_t rows = pages * rules_.block_size;
  pages_ = CachePages(rules_.block_size, pages);
  return base::Annotate(
      model::TorchBoundary([&] {
        const torch::TensorOptions options = torch::dtype(dtype).device(model.device());
        if (rules_.token_shift) {
          last_rows_ = torch::empty({pages, model.descriptor().hidden_size}, options);
        }
        if (sampler_->cache_ && sampler_->cache_->capacity_rows() >= rows) return;
        sampler_->cache_.reset();  // before its successor is allocated
        sampler_->cache_ = std::make_unique<model::KvCache>(model.descriptor(), rows, options);
      }),
      "while allocating a cache of ", rows, " rows");
}

absl::Status SamplingRun::Step() {
  Admit();
  sampler_->statistics_.cache_bytes = pages_.used() * page_bytes_;
  StepBatch batch(rules_.block_size);
  const std::vector<int64_t> filled = AddPrompts(&batch);
  const std::vector<Source> sources = AddSequences(&batch);
  DTRPO_ASSIGN_OR_RETURN(const std::vector<Candidate> candidates, RunModel(batch, filled, sources));
  return Distribute(sources, candidates);
}

void SamplingRun::Admit() {
  while (next_request_ < requests_.size() &&
         std::ssize(active_) < sampler_->options_.batch_sequences) {
    const SampleRequest& request = requests_[next_request_];
    Active active = {.state = SequenceState(&rules_, request.prompt_tokens, request.seed,
                                            request.max_new_tokens),
                     .request = static_cast<int64_t>(next_request_)};
    if (rules_.bidirectional) {
      if (!HasRoomFor(active.state)) return;
    } else {
      active.prompt_pages = active.state.prompt_rows() / rules_.block_size;
      std::optional<CachePages::Table> pages = pages_.Acquire(
          absl::MakeConstSpan(request.prompt_tokens).subspan(0, active.state.prompt_rows()),
          BlocksOf(request) - active.prompt_pages);
      if (!pages.has_value()) return;
      active.pages = *std::move(pages);
    }
    active_.push_back(std::move(active));
    ++next_request_;
  }
}

// Whole sequences share a forward while their rows stay within the bound; one always fits.
bool SamplingRun::HasRoomFor(const SequenceState& state) const {
  if (active_.empty()) return true;
  size_t rows = state.forward_tokens().size();
  for (const Active& active : active_) rows += active.state.forward_tokens().size();
  return static_cast<int64_t>(rows) <= sampler_->options_.max_prefill_rows;
}

std::vector<int64_t> SamplingRun::AddPrompts(StepBatch* batch) {
  std::vector<int64_t> stored;
  for (const Active& active : active_) {
    for (int64_t block = 0; block < active.prompt_pages; ++block) {
      const int32_t page = active.pages[block];
      if (pages_.filled(page)) continue;
      const int64_t rows = batch->size() + rules_.block_size;
      if (!batch->empty() && rows > sampler_->options_.max_prefill_rows) return stored;
      const int64_t first_row =
          batch->AddPromptBlock(requests_[active.request].prompt_tokens, block, active.pages);
      pages_.set_filled(page);
      if (!rules_.token_shift) continue;
      batch->AddOutput(first_row + rules_.block_size - 1);
      stored.push_back(page);
    }
  }
  return stored;
}

std::vector<SamplingRun::Source> SamplingRun::AddSequences(StepBatch* batch) {
  std::vector<Source> sources;
  for (const Active& active : active_) {
    if (!IsReady(active)) continue;
    const SequenceState& state = active.state;
    Source source;
    source.request = &requests_[active.request];
    int64_t first_row = 0;  // of position 0
    if (state.stage() == Stage::kFirstToken) {
      source.page = active.pages[active.prompt_pages - 1];
    } else {
      first_row = (rules_.bidirectional ? batch->AddWholeSequence(state)
                                        : batch->AddSequenceBlocks(state, active.pages)) -
                  state.forward_position();
      ++sampler_->statistics_.sequence_forwards;
    }
    for (const TokenQuery& query : state.Queries()) {
      source.query = query;
      if (source.page < 0) batch->AddOutput(first_row + query.row_position);
      sources.push_back(source);
    }
  }
  return sources;
}

absl::StatusOr<std::vector<Candidate>> SamplingRun::RunModel(const StepBatch& batch,
                                                             const std::vector<int64_t>& filled,
                                                             absl::Span<const Source> sources) {
  return model::TorchBoundary([&] {
    torch::NoGradGuard no_grad;
    const model::Transformer& model = *sampler_->model_;
    const torch::Tensor hidden = HiddenOf(sources, Forward(batch, filled));
    std::vector<Candidate> candidates;
    const int64_t total = std::ssize(sources);
    const int64_t chunk = std::max<int64_t>(1, kMaxLogits / model.descriptor().vocab_size);
    for (int64_t begin = 0; begin < total; begin += chunk) {
      const int64_t count = std::min(chunk, total - begin);
      const std::vector<Candidate> picked = sampler_->token_sampler_.Pick(
          model.Head(hidden.narrow(0, begin, count)), DrawsOf(sources.subspan(begin, count)));
      candidates.insert(candidates.end(), picked.begin(), picked.end());
    }
    return candidates;
  });
}

// Hidden states of this forward's output rows for sources, [r, D]; those for prompt pages, which
// come first, are stored. Undefined when there is nothing to run.
torch::Tensor SamplingRun::Forward(const StepBatch& batch, const std::vector<int64_t>& filled) {
  if (batch.empty()) return torch::Tensor();
  const torch::Tensor outputs = sampler_->model_->Forward(batch.rows(), sampler_->cache_.get());
  ++sampler_->statistics_.forwards;
  const int64_t stored = std::ssize(filled);
  if (stored > 0) {
    last_rows_.index_copy_(0, model::IndexTensor(filled, last_rows_.device()),
                           outputs.narrow(0, 0, stored));
  }
  return outputs.narrow(0, stored, batch.outputs() - stored);
}

// Hidden states [sources, D] from this forward's `outputs`, one for each source without a page, and
// from the stored rows of pages.
torch::Tensor SamplingRun::HiddenOf(absl::Span<const Source> sources,
                                    const torch::Tensor& outputs) const {
  std::vector<int64_t> pages;
  std::vector<int64_t> rows;  // where each source's hidden state is in [outputs | stored rows]
  int64_t next_output = 0;
  const int64_t forward_outputs = outputs.defined() ? outputs.size(0) : 0;
  for (const Source& source : sources) {
    if (source.page < 0) {
      rows.push_back(next_output++);
    } else {
      rows.push_back(forward_outputs + std::ssize(pages));
      pages.push_back(source.page);
    }
  }
  if (pages.empty()) return outputs;
  const auto index = [this](const std::vector<int64_t>& values) {
    return model::IndexTensor(values, last_rows_.device());
  };
  const torch::Tensor stored = last_rows_.index_select(0, index(pages));
  if (!outputs.defined()) return stored;
  return torch::cat({outputs, stored}).index_select(0, index(rows));
}

std::vector<RowDraw> SamplingRun::DrawsOf(absl::Span<const Source> sources) {
  std::vector<RowDraw> draws;
  draws.reserve(sources.size());
  for (const Source& source : sources) {
    const base::CounterRng rng(source.request->seed, source.query.position);
    draws.push_back({rng.Uniform01At(source.query.draw), source.query.greedy});
  }
  return draws;
}

absl::Status SamplingRun::Distribute(absl::Span<const Source> sources,
                                     absl::Span<const Candidate> candidates) {
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (!std::isfinite(candidates[i].logprob)) {
      return absl::InternalError(absl::StrCat("request '", sources[i].request->id,
                                              "': the model's logits at position ",
                                              sources[i].query.position, " are not finite"));
    }
  }
  size_t next = 0;
  for (Active& active : active_) {
    if (!IsReady(active)) continue;
    const size_t count = active.state.Queries().size();
    active.state.Advance(candidates.subspan(next, count));
    next += count;
    if (on_block_) Observe(active);
    if (active.state.stage() == Stage::kDone) Finish(active);
  }
  DTRPO_CHECK_EQ(next, candidates.size());
  active_.remove_if([](const Active& active) { return active.state.stage() == Stage::kDone; });
  return absl::OkStatus();
}

void SamplingRun::Observe(Active& active) {
  const absl::Span<const int32_t> finished = active.state.finished_targets();
  const bool last = active.state.stage() == Stage::kDone;
  if (!last && active.observed == static_cast<int64_t>(finished.size())) return;
  on_block_({active.request, active.observed, finished.subspan(active.observed), last});
  active.observed = static_cast<int64_t>(finished.size());
}

void SamplingRun::Finish(const Active& active) {
  const SampleRequest& request = requests_[active.request];
  trajectory::Trajectory& t = trajectories_[active.request];
  t.id = request.id;
  t.model_id = sampler_->options_.model_id;
  t.sampler = sampler_->options_.parameters;
  if (request.max_new_tokens > 0) t.sampler.max_new_tokens = request.max_new_tokens;
  t.seed = request.seed;
  t.weights_version = {sampler_->options_.weights_version};
  active.state.FillTrajectory(&t);
  pages_.Release(active.pages);
  ++finished_;
  ++sampler_->statistics_.sequences;
  sampler_->statistics_.tokens += active.state.committed_targets();
}

}  // namespace dtrpo::diffusion

#include "common/diffusion/sampling_run.h"

#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/philox.h"
#include "common/base/status_macros.h"
#include "common/model/torch_boundary.h"
#include "common/trajectory/block_layout.h"

namespace dtrpo::diffusion {
namespace {

using Stage = SequenceState::Stage;

// Logits held at once, in elements (64 MiB in float32, twice that while a temperature is applied).
constexpr int64_t kMaxLogits = int64_t{1} << 24;

CacheSlots MakeSlots(const SequenceRules& rules, int32_t batch_sequences,
                     absl::Span<const SampleRequest> requests) {
  const int64_t sequences = std::min<int64_t>(batch_sequences, requests.size());
  if (rules.bidirectional) return CacheSlots(static_cast<int32_t>(sequences), 0, 0);
  int64_t prompt_rows = 0;
  int64_t own_rows = 0;
  for (const SampleRequest& request : requests) {
    const int64_t prompt = static_cast<int64_t>(request.prompt_tokens.size());
    const int64_t tail = prompt % rules.block_size;
    prompt_rows = std::max(prompt_rows, prompt - tail);
    const int32_t max_new_tokens =
        request.max_new_tokens > 0 ? request.max_new_tokens : rules.max_new_tokens;
    own_rows =
        std::max(own_rows, tail + trajectory::CanvasTokens(prompt, max_new_tokens, rules.block_size,
                                                           trajectory::BlockOrigin::kAbsolute));
  }
  return CacheSlots(static_cast<int32_t>(sequences), prompt_rows, own_rows);
}

}  // namespace

SamplingRun::SamplingRun(BlockSampler* sampler, absl::Span<const SampleRequest> requests,
                         const BlockObserver& on_block)
    : sampler_(sampler),
      requests_(requests),
      on_block_(on_block),
      slots_(MakeSlots(sampler->rules_, sampler->options_.batch_sequences, requests)),
      last_prompt_rows_(sampler->options_.batch_sequences),
      trajectories_(requests.size()) {}

absl::Status SamplingRun::Prepare() {
  const int64_t rows = slots_.capacity_rows();
  if (rows == 0) return absl::OkStatus();  // bidirectional
  if (sampler_->cache_ && sampler_->cache_->capacity_rows() >= rows) return absl::OkStatus();
  sampler_->cache_.reset();  // before its successor is allocated
  return base::Annotate(model::TorchBoundary([&] {
                          const model::Transformer& model = *sampler_->model_;
                          sampler_->cache_ = std::make_unique<model::KvCache>(
                              model.descriptor(), rows,
                              model.NamedParameters().front().second.scalar_type());
                        }),
                        "while allocating a cache of ", rows, " rows");
}

absl::Status SamplingRun::Step() {
  Admit();
  StepBatch batch(sampler_->rules_.block_size);
  const std::vector<FilledPrompt> filled = AddPrompts(&batch);
  const std::vector<Source> sources = AddSequences(&batch);
  DTRPO_ASSIGN_OR_RETURN(const std::vector<Candidate> candidates, RunModel(batch, filled, sources));
  return Distribute(sources, candidates);
}

void SamplingRun::Admit() {
  while (next_request_ < requests_.size() && slots_.HasFree()) {
    const SampleRequest& request = requests_[next_request_];
    SequenceState state(&sampler_->rules_, request.prompt_tokens, request.seed,
                        request.max_new_tokens);
    if (!HasRoomFor(state)) break;
    const CacheSlots::Slot slot =
        slots_.Acquire(absl::MakeConstSpan(request.prompt_tokens).subspan(0, state.prompt_rows()));
    active_.push_back({std::move(state), static_cast<int64_t>(next_request_), slot});
    ++next_request_;
  }
}

// Whole sequences share a forward while their rows stay within the bound; one always fits.
bool SamplingRun::HasRoomFor(const SequenceState& state) const {
  if (!sampler_->rules_.bidirectional || active_.empty()) return true;
  size_t rows = state.forward_tokens().size();
  for (const Active& active : active_) rows += active.state.forward_tokens().size();
  return static_cast<int64_t>(rows) <= sampler_->options_.max_prefill_rows;
}

std::vector<SamplingRun::FilledPrompt> SamplingRun::AddPrompts(StepBatch* batch) {
  std::vector<FilledPrompt> filled;
  const int64_t max_rows = sampler_->options_.max_prefill_rows;
  for (const Active& active : active_) {
    if (IsReady(active)) continue;
    if (batch->size() >= max_rows) break;
    const int64_t last_row =
        batch->AddPromptBlocks(&slots_, active.slot.prompt, max_rows - batch->size());
    if (IsReady(active)) filled.push_back({active.slot.prompt, last_row});
  }
  return filled;
}

std::vector<SamplingRun::Source> SamplingRun::AddSequences(StepBatch* batch) {
  std::vector<Source> sources;
  for (const Active& active : active_) {
    if (!IsReady(active)) continue;
    const SequenceState& state = active.state;
    Source source;
    source.request = &requests_[active.request];
    int64_t first_row = 0;
    if (state.stage() == Stage::kFirstToken) {
      source.prompt = active.slot.prompt;
    } else {
      first_row = sampler_->rules_.bidirectional
                      ? batch->AddWholeSequence(state)
                      : batch->AddSequenceBlock(state, slots_, active.slot);
      first_row -= state.forward_position();
      ++sampler_->statistics_.sequence_forwards;
    }
    for (const TokenQuery& query : state.Queries()) {
      source.query = query;
      source.row = first_row + query.row_position;
      sources.push_back(source);
    }
  }
  return sources;
}

absl::StatusOr<std::vector<Candidate>> SamplingRun::RunModel(const StepBatch& batch,
                                                             absl::Span<const FilledPrompt> filled,
                                                             absl::Span<const Source> sources) {
  return model::TorchBoundary([&] {
    torch::NoGradGuard no_grad;
    const model::Transformer& model = *sampler_->model_;
    std::vector<torch::Tensor> hidden;  // this forward's rows [R, D], then stored rows [1, D]
    if (!batch.empty()) {
      hidden.push_back(model.Forward(batch.rows(), sampler_->cache_.get()));
      ++sampler_->statistics_.forwards;
    }
    for (const FilledPrompt& prompt : filled) {
      last_prompt_rows_[prompt.prompt] = hidden[0].narrow(0, prompt.row, 1).clone();
    }

    std::vector<int64_t> rows;
    int64_t hidden_rows = batch.size();
    for (const Source& source : sources) {
      if (source.prompt >= 0) hidden.push_back(last_prompt_rows_[source.prompt]);
      rows.push_back(source.prompt >= 0 ? hidden_rows++ : source.row);
    }
    std::vector<Candidate> candidates;
    if (sources.empty()) return candidates;
    const torch::Tensor pool = hidden.size() == 1 ? hidden[0] : torch::cat(hidden);
    const torch::Tensor index = torch::tensor(rows).to(pool.device());
    const int64_t total = static_cast<int64_t>(rows.size());
    const int64_t chunk = std::max<int64_t>(1, kMaxLogits / model.descriptor().vocab_size);
    for (int64_t begin = 0; begin < total; begin += chunk) {
      const int64_t count = std::min(chunk, total - begin);
      const torch::Tensor logits = model.Head(pool.index_select(0, index.narrow(0, begin, count)));
      const std::vector<Candidate> picked =
          sampler_->token_sampler_.Pick(logits, DrawsOf(sources.subspan(begin, count)));
      candidates.insert(candidates.end(), picked.begin(), picked.end());
    }
    return candidates;
  });
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
  slots_.Release(active.slot);
  ++finished_;
  ++sampler_->statistics_.sequences;
  sampler_->statistics_.tokens += active.state.committed_targets();
}

}  // namespace dtrpo::diffusion

#include "common/diffusion/sequence_state.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/diffusion/repetition.h"
#include "common/trajectory/block_layout.h"

namespace dtrpo::diffusion {
namespace {

using trajectory::kBlockFirstStep;
using trajectory::kNeverCommitted;

trajectory::BlockOrigin OriginOf(const SequenceRules& rules) {
  return rules.bidirectional ? trajectory::BlockOrigin::kResponse
                             : trajectory::BlockOrigin::kAbsolute;
}

}  // namespace

SequenceState::SequenceState(const SequenceRules* rules, absl::Span<const int32_t> prompt,
                             uint64_t seed, int32_t max_new_tokens)
    : rules_(rules),
      seed_(seed),
      max_new_tokens_(max_new_tokens > 0 ? max_new_tokens : rules->max_new_tokens),
      prompt_size_(static_cast<int64_t>(prompt.size())),
      prompt_rows_(rules->bidirectional ? 0 : prompt_size_ / rules->block_size * rules->block_size),
      end_(prompt_size_ + trajectory::CanvasTokens(prompt_size_, max_new_tokens_, rules->block_size,
                                                   OriginOf(*rules))),
      tokens_(prompt.begin(), prompt.end()) {
  DTRPO_CHECK(!prompt.empty());
  EnterBlock(rules_->bidirectional ? prompt_size_ : prompt_rows_);
  if (rules_->token_shift && !rules_->bidirectional && IsMasked(block_position_)) {
    stage_ = Stage::kFirstToken;
  }
}

int64_t SequenceState::forward_position() const {
  if (rules_->bidirectional) return 0;
  return unstored_position_ >= 0 ? unstored_position_ : block_position_;
}

// A block-causal sequence has no tokens behind its current block.
absl::Span<const int32_t> SequenceState::forward_tokens() const {
  return absl::MakeConstSpan(tokens_).subspan(forward_position());
}

std::vector<TokenQuery> SequenceState::Queries() const {
  std::vector<TokenQuery> queries;
  const int64_t shift = rules_->token_shift ? 1 : 0;
  switch (stage_) {
    case Stage::kFirstToken:
      queries.push_back(
          {block_position_, block_position_ - 1, kBlockFirstStep, rules_->greedy_first_token});
      break;
    case Stage::kDenoise:
      for (int64_t p = sub_block_position_; p < sub_block_end(); ++p) {
        if (IsMasked(p)) queries.push_back({p, p - shift, step_ + 1, false});
      }
      break;
    case Stage::kClean: {
      const int64_t next = block_position_ + rules_->block_size;
      queries.push_back({next, next - 1, kBlockFirstStep, rules_->greedy_first_token});
      break;
    }
    case Stage::kDone:
      break;
  }
  return queries;
}

void SequenceState::Advance(absl::Span<const Candidate> candidates) {
  switch (stage_) {
    case Stage::kClean:
      EnterBlock(block_position_ + rules_->block_size);
      [[fallthrough]];
    case Stage::kFirstToken:
      DTRPO_CHECK_EQ(candidates.size(), size_t{1});
      Commit(block_position_, candidates[0], kBlockFirstStep);
      break;
    case Stage::kDenoise:
      CommitSelected(candidates);
      unstored_position_ = -1;
      break;
    case Stage::kDone:
      DTRPO_CHECK(false) << "a finished sequence was advanced";
  }
  AfterCommit();
}

void SequenceState::CommitSelected(absl::Span<const Candidate> candidates) {
  std::vector<MaskedPosition> masked;
  for (int64_t p = sub_block_position_; p < sub_block_end(); ++p) {
    if (IsMasked(p)) masked.push_back({.position = p});
  }
  DTRPO_CHECK_EQ(candidates.size(), masked.size());
  for (size_t i = 0; i < masked.size(); ++i) {
    masked[i].confidence = candidates[i].confidence;
    masked[i].entropy = candidates[i].entropy;
    masked[i].margin = candidates[i].margin;
  }

  if (progress_.step == 0) {
    progress_.masks_at_start = static_cast<int32_t>(masked.size());
    progress_.seed = seed_;
  }
  const Selection selection = rules_->policy->Select(progress_, masked);
  progress_.step += selection.steps;
  ++step_;
  for (const int32_t i : selection.chosen) Commit(masked[i].position, candidates[i], step_);
}

void SequenceState::Commit(int64_t position, const Candidate& candidate, int32_t step) {
  const int64_t i = position - prompt_size_;
  tokens_[position] = candidate.token;
  unmask_step_[i] = step;
  logprob_[i] = candidate.logprob;
}

// Opens the block at `position`: masks to its end (the canvas's, if bidirectional), steps from 1.
void SequenceState::EnterBlock(int64_t position) {
  block_position_ = sub_block_position_ = position;
  const int64_t masks_end = rules_->bidirectional ? end_ : position + rules_->block_size;
  tokens_.resize(masks_end, rules_->mask_id);
  unmask_step_.resize(masks_end - prompt_size_, kNeverCommitted);
  logprob_.resize(masks_end - prompt_size_, 0.0f);
  step_ = 0;
  progress_ = {};
  while (!AnyMask(sub_block_position_, sub_block_end())) sub_block_position_ = sub_block_end();
}

void SequenceState::AfterCommit() {
  stop_position_ = FirstStop();
  if (stop_position_ >= 0) {
    stage_ = Stage::kDone;
    return;
  }
  const int64_t block_end = block_position_ + rules_->block_size;
  if (!AnyMask(block_position_, block_end)) {
    if (block_end == end_) {
      stage_ = Stage::kDone;
    } else if (rules_->repetition_guard > 0 &&
               EndsInCycle(absl::MakeConstSpan(tokens_).subspan(prompt_size_),
                           rules_->repetition_guard)) {
      ends_in_cycle_ = true;
      stage_ = Stage::kDone;
    } else if (rules_->token_shift && !rules_->bidirectional) {
      stage_ = Stage::kClean;
    } else {
      if (!rules_->bidirectional) unstored_position_ = block_position_;
      EnterBlock(block_end);
    }
    return;
  }
  stage_ = Stage::kDenoise;
  while (!AnyMask(sub_block_position_, sub_block_end())) {
    sub_block_position_ = sub_block_end();
    progress_ = {};
  }
}

int64_t SequenceState::FirstStop() const {
  for (int64_t p = std::max(prompt_size_, block_position_);
       p < static_cast<int64_t>(tokens_.size()) && !IsMasked(p); ++p) {
    if (std::find(rules_->stop_ids.begin(), rules_->stop_ids.end(), tokens_[p]) !=
        rules_->stop_ids.end()) {
      return p;
    }
  }
  return -1;
}

bool SequenceState::IsMasked(int64_t position) const {
  return position >= prompt_size_ && unmask_step_[position - prompt_size_] == kNeverCommitted;
}

bool SequenceState::AnyMask(int64_t begin, int64_t end) const {
  for (int64_t p = begin; p < end; ++p) {
    if (IsMasked(p)) return true;
  }
  return false;
}

int64_t SequenceState::sub_block_end() const {
  return std::min(sub_block_position_ + rules_->sub_block, block_position_ + rules_->block_size);
}

int64_t SequenceState::TargetsWithin(int64_t tokens) const {
  const int64_t limit = std::min<int64_t>(max_new_tokens_, tokens);
  return stop_position_ < 0 ? limit : std::min(limit, stop_position_ - prompt_size_ + 1);
}

int64_t SequenceState::committed_targets() const {
  const int64_t targets = TargetsWithin(static_cast<int64_t>(unmask_step_.size()));
  return std::count_if(unmask_step_.begin(), unmask_step_.begin() + targets,
                       [](int32_t step) { return step != kNeverCommitted; });
}

absl::Span<const int32_t> SequenceState::finished_targets() const {
  int64_t end = block_position_;
  if (stage_ == Stage::kClean) end += rules_->block_size;
  if (stage_ == Stage::kDone) end = static_cast<int64_t>(tokens_.size());
  return absl::MakeConstSpan(tokens_).subspan(
      prompt_size_, TargetsWithin(std::max<int64_t>(0, end - prompt_size_)));
}

void SequenceState::FillTrajectory(trajectory::Trajectory* t) const {
  DTRPO_CHECK(stage_ == Stage::kDone);
  t->prompt_tokens.assign(tokens_.begin(), tokens_.begin() + prompt_size_);
  t->response_tokens.assign(tokens_.begin() + prompt_size_, tokens_.end());
  t->unmask_step = unmask_step_;
  t->behaviour_logprob = logprob_;
  t->block_size = rules_->block_size;
  t->block_origin = OriginOf(*rules_);
  t->stop_index = stop_position_ >= 0 ? static_cast<int32_t>(stop_position_ - prompt_size_) : -1;
  t->finish_reason = stop_position_ >= 0 ? trajectory::FinishReason::kStop
                     : ends_in_cycle_    ? trajectory::FinishReason::kRepetition
                                         : trajectory::FinishReason::kLength;
}

}  // namespace dtrpo::diffusion

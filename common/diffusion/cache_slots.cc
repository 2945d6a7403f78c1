#include "common/diffusion/cache_slots.h"

#include <algorithm>

#include "common/base/check.h"

namespace dtrpo::diffusion {

CacheSlots::CacheSlots(int32_t sequences, int64_t prompt_rows, int64_t own_rows)
    : prompt_rows_(prompt_rows), own_rows_(own_rows), prompts_(sequences) {
  for (int32_t own = sequences - 1; own >= 0; --own) free_own_.push_back(own);
}

int64_t CacheSlots::capacity_rows() const {
  return static_cast<int64_t>(prompts_.size()) * (prompt_rows_ + own_rows_);
}

CacheSlots::Slot CacheSlots::Acquire(absl::Span<const int32_t> prompt) {
  DTRPO_CHECK(HasFree());
  DTRPO_CHECK_LE(static_cast<int64_t>(prompt.size()), prompt_rows_);
  Slot slot;
  slot.own = free_own_.back();
  free_own_.pop_back();
  if (prompt.empty()) return slot;

  slot.prompt = FindPrompt(prompt);
  if (slot.prompt < 0) {
    slot.prompt = LongestUnused();
    Prompt& place = prompts_[slot.prompt];
    place.tokens.assign(prompt.begin(), prompt.end());
    place.filled_rows = 0;
  }
  ++prompts_[slot.prompt].users;
  return slot;
}

void CacheSlots::Release(const Slot& slot) {
  free_own_.push_back(slot.own);
  if (slot.prompt < 0) return;
  Prompt& prompt = prompts_[slot.prompt];
  DTRPO_CHECK_GE(prompt.users, 1);
  --prompt.users;
  prompt.last_used = ++clock_;
}

int64_t CacheSlots::own_begin(int32_t own) const {
  return static_cast<int64_t>(prompts_.size()) * prompt_rows_ + own * own_rows_;
}

bool CacheSlots::IsFilled(const Slot& slot) const {
  return slot.prompt < 0 ||
         filled_rows(slot.prompt) == static_cast<int64_t>(prompts_[slot.prompt].tokens.size());
}

int32_t CacheSlots::FindPrompt(absl::Span<const int32_t> tokens) const {
  const auto found = std::find_if(prompts_.begin(), prompts_.end(), [tokens](const Prompt& prompt) {
    return absl::MakeConstSpan(prompt.tokens) == tokens;
  });
  return found == prompts_.end() ? -1 : static_cast<int32_t>(found - prompts_.begin());
}

int32_t CacheSlots::LongestUnused() const {
  int32_t best = -1;
  for (int32_t i = 0; i < static_cast<int32_t>(prompts_.size()); ++i) {
    if (prompts_[i].users > 0) continue;
    if (best < 0 || prompts_[i].last_used < prompts_[best].last_used) best = i;
  }
  DTRPO_CHECK_GE(best, 0);  // each sequence uses at most one, and this one doesn't yet
  return best;
}

}  // namespace dtrpo::diffusion

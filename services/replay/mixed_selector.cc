#include "services/replay/mixed_selector.h"

#include <algorithm>

namespace dtrpo::replay {

void MixedSelector::Add(const Candidate& candidate) {
  if (candidate.version < 0) {
    external_.Add(candidate);
  } else {
    of_prompts_->Add(candidate);
  }
}

void MixedSelector::Remove(ItemId item) {
  if (external_.Holds(item)) {
    external_.Remove(item);
  } else {
    of_prompts_->Remove(item);
  }
}

void MixedSelector::SetPriority(ItemId item, double priority) {
  if (!external_.Holds(item)) of_prompts_->SetPriority(item, priority);
}

MixedSelector::Parts MixedSelector::PartsOf(int64_t count) const {
  const int64_t external = std::min(external_per_batch_, count);
  Parts parts = {.external = std::min(external, external_.size()),
                 .of_prompts = std::min(count - external, of_prompts_->size())};
  if (external_ended_) {
    parts.of_prompts = std::min(count - parts.external, of_prompts_->size());
  }
  if (prompts_ended_) parts.external = std::min(count - parts.of_prompts, external_.size());
  return parts;
}

int64_t MixedSelector::Ready(int64_t count) const {
  const Parts parts = PartsOf(count);
  return parts.external + parts.of_prompts;
}

std::vector<ItemId> MixedSelector::Select(int64_t batch, int64_t count) const {
  const Parts parts = PartsOf(count);
  const std::vector<ItemId> external = external_.Select(batch, parts.external);
  const std::vector<ItemId> of_prompts = of_prompts_->Select(batch, parts.of_prompts);
  const int64_t all = parts.external + parts.of_prompts;
  std::vector<ItemId> items;
  for (int64_t i = 0, taken = 0; i < all; ++i) {
    if ((i + 1) * parts.external / all > taken) {
      items.push_back(external[taken++]);
    } else {
      items.push_back(of_prompts[i - taken]);
    }
  }
  return items;
}

std::vector<ItemId> MixedSelector::Items() const {
  std::vector<ItemId> items = external_.Items();
  for (ItemId item : of_prompts_->Items()) items.push_back(item);
  return items;
}

}  // namespace dtrpo::replay

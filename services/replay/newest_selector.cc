#include "services/replay/newest_selector.h"

#include <algorithm>

#include "common/base/check.h"

namespace dtrpo::replay {

void NewestSelector::Add(const Candidate& candidate) {
  const Place place = {-candidate.version, next_ticket_++};
  DTRPO_CHECK(places_.emplace(candidate.id, place).second)
      << "item " << candidate.id << " is held already";
  queue_.emplace(place, candidate.id);
}

void NewestSelector::Remove(ItemId item) {
  auto place = places_.find(item);
  DTRPO_CHECK(place != places_.end()) << "item " << item << " isn't held";
  queue_.erase(place->second);
  places_.erase(place);
}

std::vector<ItemId> NewestSelector::Select(int64_t /*batch*/, int64_t count) const {
  std::vector<ItemId> items;
  for (auto it = queue_.begin(); it != queue_.end() && count > 0; ++it, --count) {
    items.push_back(it->second);
  }
  return items;
}

std::vector<ItemId> NewestSelector::Items() const {
  std::vector<std::pair<int64_t, ItemId>> by_ticket;
  by_ticket.reserve(queue_.size());
  for (const auto& [place, item] : queue_) by_ticket.emplace_back(place.second, item);
  std::sort(by_ticket.begin(), by_ticket.end());
  std::vector<ItemId> items;
  items.reserve(by_ticket.size());
  for (const auto& [ticket, item] : by_ticket) items.push_back(item);
  return items;
}

}  // namespace dtrpo::replay

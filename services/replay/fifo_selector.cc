#include "services/replay/fifo_selector.h"

#include "common/base/check.h"

namespace dtrpo::replay {

void FifoSelector::Add(const Candidate& candidate) {
  DTRPO_CHECK(tickets_.emplace(candidate.id, next_ticket_).second)
      << "item " << candidate.id << " is held already";
  queue_.emplace(next_ticket_++, candidate.id);
}

void FifoSelector::Remove(ItemId item) {
  auto ticket = tickets_.find(item);
  DTRPO_CHECK(ticket != tickets_.end()) << "item " << item << " isn't held";
  queue_.erase(ticket->second);
  tickets_.erase(ticket);
}

std::vector<ItemId> FifoSelector::Select(int64_t /*batch*/, int64_t count) const {
  std::vector<ItemId> items;
  for (auto it = queue_.begin(); it != queue_.end() && count > 0; ++it, --count) {
    items.push_back(it->second);
  }
  return items;
}

}  // namespace dtrpo::replay

// The newest weights version first; within a version, first in, first out. Not thread-safe.
// External items count as the oldest. An item that may be used again queues behind the others of
// its version.
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "services/replay/selector.h"

namespace dtrpo::replay {

class NewestSelector : public Selector {
 public:
  void Add(const Candidate& candidate) override;
  void Remove(ItemId item) override;
  bool Holds(ItemId item) const override { return places_.contains(item); }
  int64_t size() const override { return static_cast<int64_t>(queue_.size()); }
  std::vector<ItemId> Select(int64_t batch, int64_t count) const override;
  std::vector<ItemId> Items() const override;

 private:
  using Place = std::pair<int64_t, int64_t>;  // minus the version, ticket

  int64_t next_ticket_ = 0;
  std::map<Place, ItemId> queue_;
  std::unordered_map<ItemId, Place> places_;
};

}  // namespace dtrpo::replay

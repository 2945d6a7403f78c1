// First in, first out: the item that has waited longest comes first. Not thread-safe.
// An item that may be used again queues at the back, so nothing waits for ever behind it.
#pragma once

#include <vector>

#include "absl/container/btree_map.h"
#include "services/replay/selector.h"

namespace dtrpo::replay {

class FifoSelector : public Selector {
 public:
  void Add(const Candidate& candidate) override;
  void Remove(ItemId item) override;
  bool Holds(ItemId item) const override { return tickets_.contains(item); }
  int64_t size() const override { return static_cast<int64_t>(queue_.size()); }
  std::vector<ItemId> Select(int64_t batch, int64_t count) const override;
  std::vector<ItemId> Items() const override { return Select(0, size()); }

 private:
  int64_t next_ticket_ = 0;
  // Tickets and numbers of items rise, so these trees are filled to the brim: 20 bytes an item.
  absl::btree_map<int64_t, ItemId> queue_;    // by ticket
  absl::btree_map<ItemId, int64_t> tickets_;  // the way back
};

}  // namespace dtrpo::replay

// Every item is equally likely. Not thread-safe. O(1) to add and remove, O(count) to select.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "services/replay/selector.h"

namespace dtrpo::replay {

class UniformSelector : public Selector {
 public:
  explicit UniformSelector(uint64_t seed) : seed_(seed) {}

  void Add(const Candidate& candidate) override;
  void Remove(ItemId item) override;
  bool Holds(ItemId item) const override { return places_.contains(item); }
  int64_t size() const override { return static_cast<int64_t>(items_.size()); }
  std::vector<ItemId> Select(int64_t batch, int64_t count) const override;
  std::vector<ItemId> Items() const override { return items_; }

 private:
  const uint64_t seed_;
  std::vector<ItemId> items_;                  // the last one takes a removed one's place
  std::unordered_map<ItemId, size_t> places_;  // in items_
};

}  // namespace dtrpo::replay

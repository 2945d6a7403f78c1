// An item is drawn with a chance in proportion to priority ^ exponent (prioritised experience
// replay: Schaul, Quan, Antonoglou, Silver, ICLR 2016, proportional variant), one after the other
// without putting back. Not thread-safe. O(log n) for each call and each item selected.
//
// Priorities below kLeastPriority count as that, so no item is out of reach.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "services/replay/selector.h"
#include "services/replay/sum_tree.h"

namespace dtrpo::replay {

inline constexpr double kLeastPriority = 1e-6;
inline constexpr double kMaxPriority = 1e9;

class PrioritisedSelector : public Selector {
 public:
  PrioritisedSelector(uint64_t seed, double exponent) : seed_(seed), exponent_(exponent) {}

  void Add(const Candidate& candidate) override;
  void Remove(ItemId item) override;
  bool Holds(ItemId item) const override { return places_.contains(item); }
  int64_t size() const override { return static_cast<int64_t>(items_.size()); }
  void SetPriority(ItemId item, double priority) override;
  std::vector<ItemId> Select(int64_t batch, int64_t count) const override;
  std::vector<ItemId> Items() const override { return items_; }

 private:
  double Weight(double priority) const;

  const uint64_t seed_;
  const double exponent_;
  std::vector<ItemId> items_;                  // the last one takes a removed one's place
  std::unordered_map<ItemId, size_t> places_;  // in items_ and weights_
  // Select() takes out what it has drawn and puts it back: as if it were const.
  mutable SumTree weights_;
};

}  // namespace dtrpo::replay

// Chooses the items of the next batch. Not thread-safe: it is a part of a ReplayTable.
//
// A selector holds exactly the items that fit the next batch; the table adds and removes them. It
// must be a pure function of the sequence of calls (and of a seed), because a table is rebuilt by
// replaying its log.
#pragma once

#include <cstdint>
#include <vector>

#include "services/replay/log_record.h"

namespace dtrpo::replay {

class Selector {
 public:
  virtual ~Selector() = default;

  // A new item, or one that may be used again after it was in a batch. REQUIRES: not held.
  virtual void Add(ItemId item) = 0;
  virtual void Remove(ItemId item) = 0;  // REQUIRES: held
  virtual bool Holds(ItemId item) const = 0;
  virtual int64_t size() const = 0;

  // The items for batch `batch`, in its order: min(count, size()) distinct ones. Changes nothing.
  virtual std::vector<ItemId> Select(int64_t batch, int64_t count) const = 0;

  // All items, in an order such that adding them to an empty selector gives this one.
  virtual std::vector<ItemId> Items() const = 0;
};

}  // namespace dtrpo::replay

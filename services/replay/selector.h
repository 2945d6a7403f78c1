// Chooses the items of the next batch. Not thread-safe: it is a part of a ReplayTable.
//
// A selector holds exactly the items that fit the next batch; the table adds and removes them. It
// is a pure function of the sequence of calls and of a seed, because a table is rebuilt by
// replaying its log: what it draws for batch n depends on (seed, n) and on what it holds, never on
// a clock, an address or how often it was asked.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "services/replay/log_record.h"
#include "services/replay/table_options.h"

namespace dtrpo::replay {

// What a selector may look at.
struct Candidate {
  ItemId id = 0;
  int64_t version = 0;  // -1: external
  double priority = 0;  // in [0, kMaxPriority]
};

class Selector {
 public:
  virtual ~Selector() = default;

  // A new item, or one that may be used again after it was in a batch. REQUIRES: not held.
  virtual void Add(const Candidate& candidate) = 0;
  virtual void Remove(ItemId item) = 0;  // REQUIRES: held
  virtual bool Holds(ItemId item) const = 0;
  virtual int64_t size() const = 0;

  // REQUIRES: held. Only a prioritised selector cares.
  virtual void SetPriority(ItemId /*item*/, double /*priority*/) {}

  // Those without a version, where they are counted apart (mixed_selector.h).
  virtual int64_t external_items() const { return 0; }
  // No more imported items, or items of prompts, will come. Only a mixed selector cares.
  virtual void EndKind(bool /*external*/) {}
  // How far a batch of `count` is filled by what is held; one that isn't full waits for more.
  virtual int64_t Ready(int64_t count) const { return std::min(count, size()); }

  // The items for batch `batch`, in its order: Ready(count) distinct ones. Changes nothing.
  virtual std::vector<ItemId> Select(int64_t batch, int64_t count) const = 0;

  // All items, in an order such that adding them to an empty selector gives this one.
  virtual std::vector<ItemId> Items() const = 0;
};

// The one that the options name.
std::unique_ptr<Selector> MakeSelector(const TableOptions& options);

}  // namespace dtrpo::replay

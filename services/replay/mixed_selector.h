// Items of two kinds, imported ones and those of prompts, with a fixed number of each in a batch.
// Not thread-safe.
//
//   B items, k of them external     both kinds come: k and B - k, or the batch waits
//   one kind has ended              what it has left of its number, the other kind in its place
//   both have ended                 as many of each as there are, until B
//
// The two are spread evenly over the batch, so that each rank's slice has its share of both.
#pragma once

#include <memory>
#include <vector>

#include "services/replay/fifo_selector.h"
#include "services/replay/selector.h"

namespace dtrpo::replay {

class MixedSelector : public Selector {
 public:
  // `of_prompts` chooses among the items of prompts; imported ones come in the order of the import.
  MixedSelector(int64_t external_per_batch, std::unique_ptr<Selector> of_prompts)
      : external_per_batch_(external_per_batch), of_prompts_(std::move(of_prompts)) {}

  void Add(const Candidate& candidate) override;
  void Remove(ItemId item) override;
  bool Holds(ItemId item) const override {
    return external_.Holds(item) || of_prompts_->Holds(item);
  }
  int64_t size() const override { return external_.size() + of_prompts_->size(); }
  int64_t external_items() const override { return external_.size(); }
  void SetPriority(ItemId item, double priority) override;
  void EndKind(bool external) override { (external ? external_ended_ : prompts_ended_) = true; }

  int64_t Ready(int64_t count) const override;
  // REQUIRES: Ready(count) == count, or both kinds have ended.
  std::vector<ItemId> Select(int64_t batch, int64_t count) const override;
  std::vector<ItemId> Items() const override;

 private:
  struct Parts {
    int64_t external = 0;
    int64_t of_prompts = 0;
  };
  Parts PartsOf(int64_t count) const;

  const int64_t external_per_batch_;
  bool external_ended_ = false;
  bool prompts_ended_ = false;
  FifoSelector external_;
  const std::unique_ptr<Selector> of_prompts_;
};

}  // namespace dtrpo::replay

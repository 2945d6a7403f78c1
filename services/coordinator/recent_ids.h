// Not thread-safe.
#pragma once

#include <cstddef>
#include <deque>
#include <set>
#include <string>

namespace dtrpo::coordinator {

// Remembers the last `capacity` ids, so that a repeated report is told from a new one.
class RecentIds {
 public:
  explicit RecentIds(size_t capacity) : capacity_(capacity) {}

  // True the first time.
  bool Add(const std::string& id) {
    if (!ids_.insert(id).second) return false;
    order_.push_back(id);
    if (order_.size() > capacity_) {
      ids_.erase(order_.front());
      order_.pop_front();
    }
    return true;
  }

  template <typename Archive>
  void Kept(Archive& archive) {
    archive(ids_, order_);
  }

 private:
  const size_t capacity_;
  std::set<std::string> ids_;
  std::deque<std::string> order_;
};

}  // namespace dtrpo::coordinator

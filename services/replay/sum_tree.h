// Weights in places 0, 1, 2, ..., and which place a point of their sum falls upon. Not thread-safe.
//
// A binary tree in an array: node i has the children 2i and 2i+1, the leaves are the weights. Each
// node is the sum of its two children, computed anew at each change, so the tree is a pure function
// of its leaves: rounding doesn't pile up, and a tree that was rebuilt draws the same.
#pragma once

#include <cstddef>
#include <vector>

namespace dtrpo::replay {

class SumTree {
 public:
  // Grows as needed. REQUIRES: weight is finite and >= 0.
  void Set(size_t place, double weight);
  double Get(size_t place) const { return place < leaves_ ? nodes_[leaves_ + place] : 0; }
  double total() const { return leaves_ == 0 ? 0 : nodes_[1]; }

  // The place where the running sum of the weights passes `point`; never one of weight 0.
  // REQUIRES: total() > 0; `point` in [0, total()).
  size_t Find(double point) const;

 private:
  size_t leaves_ = 0;          // a power of two, or 0
  std::vector<double> nodes_;  // [2 * leaves_]; node 0 isn't used
};

}  // namespace dtrpo::replay

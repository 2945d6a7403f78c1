#include "services/replay/sum_tree.h"

#include <algorithm>
#include <cmath>

#include "common/base/check.h"

namespace dtrpo::replay {

void SumTree::Set(size_t place, double weight) {
  DTRPO_CHECK(std::isfinite(weight) && weight >= 0) << "weight " << weight;
  if (place >= leaves_) {
    size_t leaves = std::max<size_t>(leaves_, 1);
    while (leaves <= place) leaves *= 2;
    std::vector<double> nodes(2 * leaves);
    if (leaves_ > 0) std::copy(nodes_.begin() + leaves_, nodes_.end(), nodes.begin() + leaves);
    for (size_t i = leaves - 1; i >= 1; --i) nodes[i] = nodes[2 * i] + nodes[2 * i + 1];
    nodes_ = std::move(nodes);
    leaves_ = leaves;
  }
  size_t node = leaves_ + place;
  nodes_[node] = weight;
  for (node /= 2; node >= 1; node /= 2) nodes_[node] = nodes_[2 * node] + nodes_[2 * node + 1];
}

size_t SumTree::Find(double point) const {
  DTRPO_CHECK(total() > 0) << "an empty tree";
  size_t node = 1;
  while (node < leaves_) {
    const double left = nodes_[2 * node];
    const double right = nodes_[2 * node + 1];
    // Rounding may carry the point beyond a sum: it stays where there is weight.
    if (left > 0 && (point < left || right <= 0)) {
      node = 2 * node;
    } else {
      point -= left;
      node = 2 * node + 1;
    }
  }
  return node - leaves_;
}

}  // namespace dtrpo::replay

// Thread safety: one thread at a time.
//
// Which training example comes when. Uses are counted from 0 through all epochs; every epoch is a
// permutation of its own, a pure function of (seed, epoch). So the order depends neither on the
// batch size nor on where training was interrupted.
#pragma once

#include <cstdint>
#include <vector>

namespace dtrpo::training {

class SftOrder {
 public:
  // REQUIRES: examples >= 1.
  SftOrder(int64_t examples, uint64_t seed);

  // Index of the example that the `use`-th use takes. Cheap while uses ascend. REQUIRES: use >= 0.
  int64_t ExampleAt(int64_t use);

 private:
  void ShuffleFor(int64_t epoch);

  const uint64_t seed_;
  int64_t epoch_ = -1;  // that permutation_ belongs to
  std::vector<int64_t> permutation_;
};

}  // namespace dtrpo::training

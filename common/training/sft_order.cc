#include "common/training/sft_order.h"

#include <numeric>
#include <utility>

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/philox.h"

namespace dtrpo::training {

// The hash keeps the order's random numbers apart from the noise's, which use the seed itself.
SftOrder::SftOrder(int64_t examples, uint64_t seed)
    : seed_(base::StableHash(seed, "sft_order")), permutation_(examples) {
  DTRPO_CHECK(examples >= 1);
}

int64_t SftOrder::ExampleAt(int64_t use) {
  const int64_t examples = static_cast<int64_t>(permutation_.size());
  if (use / examples != epoch_) ShuffleFor(use / examples);
  return permutation_[use % examples];
}

// Fisher and Yates.
void SftOrder::ShuffleFor(int64_t epoch) {
  epoch_ = epoch;
  std::iota(permutation_.begin(), permutation_.end(), 0);
  base::CounterRng rng(seed_, static_cast<uint64_t>(epoch));
  for (size_t i = permutation_.size(); i > 1; --i) {
    std::swap(permutation_[i - 1], permutation_[rng.UniformInt(i)]);
  }
}

}  // namespace dtrpo::training

#include "services/coordinator/prompt_order.h"

#include <numeric>
#include <utility>

#include "common/base/hash.h"
#include "common/base/philox.h"

namespace dtrpo::coordinator {

std::vector<int64_t> PromptOrder(int64_t count, bool shuffle, uint64_t seed, int64_t epoch) {
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), int64_t{0});
  if (!shuffle) return order;
  base::CounterRng rng(seed, base::StableHash("prompt order", static_cast<uint64_t>(epoch)));
  for (int64_t i = count - 1; i > 0; --i) {
    std::swap(order[i], order[rng.UniformInt(static_cast<uint64_t>(i) + 1)]);
  }
  return order;
}

}  // namespace dtrpo::coordinator

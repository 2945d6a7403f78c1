#include "services/replay/selector.h"

#include "common/base/check.h"
#include "services/replay/fifo_selector.h"
#include "services/replay/mixed_selector.h"
#include "services/replay/newest_selector.h"
#include "services/replay/prioritised_selector.h"
#include "services/replay/uniform_selector.h"

namespace dtrpo::replay {
namespace {

std::unique_ptr<Selector> MakeOne(const TableOptions& options) {
  switch (options.selector) {
    case SelectorKind::kFifo:
      return std::make_unique<FifoSelector>();
    case SelectorKind::kUniform:
      return std::make_unique<UniformSelector>(options.seed);
    case SelectorKind::kPrioritised:
      return std::make_unique<PrioritisedSelector>(options.seed, options.priority_exponent);
    case SelectorKind::kNewest:
      return std::make_unique<NewestSelector>();
  }
  DTRPO_CHECK(false) << "selector " << static_cast<int>(options.selector);
}

}  // namespace

std::unique_ptr<Selector> MakeSelector(const TableOptions& options) {
  const int32_t external = options.external_pairs_per_batch;
  const bool mixed = external > 0 && external < options.pairs_per_batch;
  if (!mixed) return MakeOne(options);
  return std::make_unique<MixedSelector>(external, MakeOne(options));
}

}  // namespace dtrpo::replay

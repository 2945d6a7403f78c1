#include "common/trajectory/plans/mask_draws.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/philox.h"

namespace dtrpo::trajectory {

namespace {

ScoredState StateOfMask(const BlockPlan& block, int64_t index, std::vector<int64_t> targets,
                        const std::vector<int64_t>& always_masked) {
  ScoredState state;
  state.block = index;
  std::sort(targets.begin(), targets.end());
  state.masked.reserve(targets.size() + always_masked.size());
  std::merge(targets.begin(), targets.end(), always_masked.begin(), always_masked.end(),
             std::back_inserter(state.masked));
  state.targets = std::move(targets);
  DTRPO_CHECK(state.masked.back() < block.block.end);
  return state;
}

}  // namespace

MaskPair DrawMasks(const PlanRequest& request, const MaskPlan& plan, int64_t block, int32_t draw) {
  const Trajectory& t = request.t;
  const BlockPlan& planned = plan.blocks[block];
  std::vector<int64_t> order;  // the targets
  std::vector<int64_t> always_masked;
  for (int64_t i = planned.block.begin; i < planned.block.end; ++i) {
    if (!IsTarget(t, i)) {
      always_masked.push_back(i);
    } else if (t.unmask_step[i] >= 1) {
      order.push_back(i);
    }
  }
  const size_t count = order.size();
  DTRPO_CHECK(count > 0) << "block " << block << " of trajectory " << t.id << " has no targets";
  const uint64_t seed =
      base::StableHash(absl::string_view("mask"), request.options.job_seed, absl::string_view(t.id),
                       static_cast<uint64_t>(request.use_index), static_cast<uint64_t>(block));
  base::CounterRng rng(seed, static_cast<uint64_t>(draw));
  const size_t masked = 1 + rng.UniformInt(count);
  for (size_t i = count - 1; i > 0; --i) std::swap(order[i], order[rng.UniformInt(i + 1)]);
  const auto middle = order.begin() + static_cast<int64_t>(masked);
  return {StateOfMask(planned, block, {order.begin(), middle}, always_masked),
          StateOfMask(planned, block, {middle - 1, order.end()}, always_masked)};
}

}  // namespace dtrpo::trajectory

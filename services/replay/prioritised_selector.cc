#include "services/replay/prioritised_selector.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/philox.h"

namespace dtrpo::replay {
namespace {

// Sums of 2^50 such weights are finite, and the smallest isn't lost beside zero.
constexpr double kLeastWeight = 1e-150;
constexpr double kMostWeight = 1e150;

}  // namespace

double PrioritisedSelector::Weight(double priority) const {
  DTRPO_CHECK(priority >= 0 && priority <= kMaxPriority) << "priority " << priority;
  return std::clamp(std::pow(std::max(priority, kLeastPriority), exponent_), kLeastWeight,
                    kMostWeight);
}

void PrioritisedSelector::Add(const Candidate& candidate) {
  DTRPO_CHECK(places_.emplace(candidate.id, items_.size()).second)
      << "item " << candidate.id << " is held already";
  weights_.Set(items_.size(), Weight(candidate.priority));
  items_.push_back(candidate.id);
}

void PrioritisedSelector::Remove(ItemId item) {
  auto place = places_.find(item);
  DTRPO_CHECK(place != places_.end()) << "item " << item << " isn't held";
  const size_t last = items_.size() - 1;
  weights_.Set(place->second, weights_.Get(last));
  weights_.Set(last, 0);
  items_[place->second] = items_.back();
  places_[items_.back()] = place->second;
  items_.pop_back();
  places_.erase(item);
}

void PrioritisedSelector::SetPriority(ItemId item, double priority) {
  auto place = places_.find(item);
  DTRPO_CHECK(place != places_.end()) << "item " << item << " isn't held";
  weights_.Set(place->second, Weight(priority));
}

std::vector<ItemId> PrioritisedSelector::Select(int64_t batch, int64_t count) const {
  const size_t wanted = std::min<size_t>(std::max<int64_t>(count, 0), items_.size());
  const base::CounterRng random(
      seed_, base::StableHash("replay.prioritised", static_cast<uint64_t>(batch)));
  std::vector<ItemId> chosen;
  std::vector<std::pair<size_t, double>> taken;
  chosen.reserve(wanted);
  taken.reserve(wanted);
  for (size_t i = 0; i < wanted; ++i) {
    const size_t place = weights_.Find(random.Uniform01At(i) * weights_.total());
    chosen.push_back(items_[place]);
    taken.emplace_back(place, weights_.Get(place));
    weights_.Set(place, 0);
  }
  for (const auto& [place, weight] : taken) weights_.Set(place, weight);
  return chosen;
}

}  // namespace dtrpo::replay

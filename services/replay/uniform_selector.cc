#include "services/replay/uniform_selector.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/philox.h"

namespace dtrpo::replay {

void UniformSelector::Add(const Candidate& candidate) {
  DTRPO_CHECK(places_.emplace(candidate.id, items_.size()).second)
      << "item " << candidate.id << " is held already";
  items_.push_back(candidate.id);
}

void UniformSelector::Remove(ItemId item) {
  auto place = places_.find(item);
  DTRPO_CHECK(place != places_.end()) << "item " << item << " isn't held";
  const ItemId last = items_.back();
  items_[place->second] = last;
  places_[last] = place->second;
  items_.pop_back();
  places_.erase(item);
}

// The first steps of a Fisher-Yates shuffle; `moved` holds the places that it has changed.
std::vector<ItemId> UniformSelector::Select(int64_t batch, int64_t count) const {
  const size_t wanted = std::min<size_t>(std::max<int64_t>(count, 0), items_.size());
  base::CounterRng random(seed_, base::StableHash("replay.uniform", static_cast<uint64_t>(batch)));
  std::unordered_map<size_t, ItemId> moved;
  auto at = [&](size_t place) {
    auto it = moved.find(place);
    return it == moved.end() ? items_[place] : it->second;
  };
  std::vector<ItemId> chosen;
  chosen.reserve(wanted);
  for (size_t i = 0; i < wanted; ++i) {
    const size_t j = i + random.UniformInt(items_.size() - i);
    chosen.push_back(at(j));
    moved[j] = at(i);
  }
  return chosen;
}

}  // namespace dtrpo::replay

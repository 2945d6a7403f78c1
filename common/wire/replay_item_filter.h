// Thread safety: pure functions.
// Which items a ListItemsRequest wants, as far as bodies decide it; where items are spread over
// shards the client looks, else the server.
#pragma once

#include <algorithm>
#include <limits>

#include "proto/dtrpo/v1/replay.pb.h"

namespace dtrpo::wire {

inline bool RewardWanted(const v1::ListItemsRequest& request, const v1::ReplayItem& item) {
  double best = -std::numeric_limits<double>::infinity();
  if (item.has_pair()) {
    best = std::max(item.pair().chosen().reward(), item.pair().rejected().reward());
  }
  for (const v1::Trajectory& t : item.group().trajectories()) best = std::max(best, t.reward());
  return !(request.has_min_reward() && best < request.min_reward()) &&
         !(request.has_max_reward() && best > request.max_reward());
}

// What a list shows of an item is small.
inline void ClearArrays(v1::ReplayItem* item) {
  auto clear = [](v1::Trajectory* t) {
    t->clear_prompt_tokens();
    t->clear_response_tokens();
    t->clear_unmask_step();
    t->clear_behaviour_logprob();
  };
  if (item->has_pair()) {
    clear(item->mutable_pair()->mutable_chosen());
    clear(item->mutable_pair()->mutable_rejected());
  }
  if (!item->has_group()) return;
  for (v1::Trajectory& t : *item->mutable_group()->mutable_trajectories()) clear(&t);
}

}  // namespace dtrpo::wire

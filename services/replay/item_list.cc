#include "services/replay/item_list.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "services/replay/item_body.h"
#include "services/replay/log_codec.h"

namespace dtrpo::replay {
namespace {

constexpr int32_t kDefaultPage = 100;
constexpr int32_t kMaxPage = 1000;
constexpr int32_t kStep = 16;                // items read at once
constexpr int64_t kMaxPageBytes = 16 << 20;  // of bodies; well below the least message limit

double BestReward(const v1::ReplayItem& item) {
  double best = -std::numeric_limits<double>::infinity();
  if (item.has_pair())
    best = std::max(item.pair().chosen().reward(), item.pair().rejected().reward());
  for (const v1::Trajectory& t : item.group().trajectories()) best = std::max(best, t.reward());
  return best;
}

bool Wanted(const v1::ListItemsRequest& request, const v1::ReplayItem& item) {
  if (request.has_min_version() && item.version() < request.min_version()) return false;
  if (request.has_max_version() && item.version() > request.max_version()) return false;
  if (!request.has_min_reward() && !request.has_max_reward()) return true;
  const double reward = BestReward(item);
  return !(request.has_min_reward() && reward < request.min_reward()) &&
         !(request.has_max_reward() && reward > request.max_reward());
}

void ClearArrays(v1::Trajectory* t) {
  t->clear_prompt_tokens();
  t->clear_response_tokens();
  t->clear_unmask_step();
  t->clear_behaviour_logprob();
}

void ClearArrays(v1::ReplayItem* item) {
  if (item->has_pair()) {
    ClearArrays(item->mutable_pair()->mutable_chosen());
    ClearArrays(item->mutable_pair()->mutable_rejected());
  }
  if (!item->has_group()) return;
  for (v1::Trajectory& t : *item->mutable_group()->mutable_trajectories()) ClearArrays(&t);
}

}  // namespace

absl::Status FillItem(ItemView view, v1::ReplayItem* item) {
  item->set_item(view.item.id);
  ToProto(view.item.prompt, item->mutable_prompt());
  item->set_version(view.item.version);
  item->set_priority(view.item.priority);
  item->set_uses(view.item.uses);
  item->set_state(view.available ? v1::ReplayItem::AVAILABLE : v1::ReplayItem::ASSIGNED);
  item->set_stored_bytes(view.item.size_bytes);
  DTRPO_ASSIGN_OR_RETURN(v1::ReplayItemBody body,
                         base::Annotate(DecodeItemBody(view.body), "item ", view.item.id));
  if (body.has_pair()) item->mutable_pair()->Swap(body.mutable_pair());
  if (body.has_group()) item->mutable_group()->Swap(body.mutable_group());
  return absl::OkStatus();
}

absl::Status ListPage(const JobTable& table, const v1::ListItemsRequest& request,
                      v1::ListItemsResponse* response) {
  if (request.max_items() < 0) {
    return absl::InvalidArgumentError(absl::StrCat("max_items: ", request.max_items(), " < 0"));
  }
  if (request.after_item() < 0) {
    return absl::InvalidArgumentError(absl::StrCat("after_item: ", request.after_item(), " < 0"));
  }
  const int32_t limit =
      std::min(request.max_items() > 0 ? request.max_items() : kDefaultPage, kMaxPage);
  // In small steps: bodies are read for each item that is looked at.
  int64_t bytes = 0;
  ItemId after = request.after_item();
  bool end = false;
  for (int32_t looked = 0; looked < limit && bytes < kMaxPageBytes && !end; looked += kStep) {
    DTRPO_ASSIGN_OR_RETURN(std::vector<ItemView> views,
                           table.ItemsAfter(after, std::min(kStep, limit - looked), &end));
    for (ItemView& view : views) {
      after = view.item.id;
      v1::ReplayItem item;
      DTRPO_RETURN_IF_ERROR(FillItem(std::move(view), &item));
      if (!Wanted(request, item)) continue;
      if (!request.bodies()) ClearArrays(&item);
      bytes += static_cast<int64_t>(item.ByteSizeLong());
      response->add_items()->Swap(&item);
    }
  }
  response->set_next_after_item(end ? 0 : after);
  return absl::OkStatus();
}

}  // namespace dtrpo::replay

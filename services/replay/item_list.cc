#include "services/replay/item_list.h"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/wire/item_body.h"
#include "common/wire/replay_item_filter.h"
#include "services/replay/log_codec.h"

namespace dtrpo::replay {
namespace {

constexpr int32_t kDefaultPage = 100;
constexpr int32_t kMaxPage = 1000;
constexpr int32_t kStep = 16;                // items read at once
constexpr int64_t kMaxPageBytes = 16 << 20;  // of bodies; well below the least message limit

bool VersionWanted(const v1::ListItemsRequest& request, int64_t version) {
  return !(request.has_min_version() && version < request.min_version()) &&
         !(request.has_max_version() && version > request.max_version());
}

}  // namespace

absl::Status FillItem(ItemView view, int32_t body_format, v1::ReplayItem* item) {
  item->set_item(view.item.id);
  ToProto(view.item.prompt, item->mutable_prompt());
  item->set_version(view.item.version);
  item->set_priority(view.item.priority);
  item->set_uses(view.item.uses);
  item->set_state(view.available ? v1::ReplayItem::AVAILABLE : v1::ReplayItem::ASSIGNED);
  item->set_stored_bytes(view.item.size_bytes);
  if (view.item.shard > 0) {
    item->set_shard(view.item.shard);
    item->set_shard_item(view.item.body);
    return absl::OkStatus();
  }
  return base::Annotate(wire::PutItemBody(std::move(view.body), body_format, item), "item ",
                        view.item.id);
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
      DTRPO_RETURN_IF_ERROR(FillItem(std::move(view), /*body_format=*/0, &item));
      if (!VersionWanted(request, item.version()) || !wire::RewardWanted(request, item)) continue;
      if (!request.bodies()) wire::ClearArrays(&item);
      bytes += static_cast<int64_t>(item.ByteSizeLong());
      response->add_items()->Swap(&item);
    }
  }
  response->set_next_after_item(end ? 0 : after);
  return absl::OkStatus();
}

}  // namespace dtrpo::replay

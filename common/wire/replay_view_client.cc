#include "common/wire/replay_view_client.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"
#include "common/wire/replay_item_filter.h"
#include "common/wire/replay_shards.h"

namespace dtrpo::wire {
namespace {

using Stub = ReplayShards::Stub;

class GrpcReplayViewClient : public ReplayViewClient {
 public:
  GrpcReplayViewClient(const std::vector<ReplayShards::Shard>& shards, const ClientOptions& options)
      : shards_(shards, options) {}

  absl::StatusOr<v1::ListReplayJobsResponse> ListJobs(absl::Time deadline) override {
    return shards_.Call(0, "list of jobs", &Stub::ListReplayJobs, v1::ListReplayJobsRequest(),
                        deadline);
  }

  absl::StatusOr<v1::GetReplayStatsResponse> GetStats(const std::string& job_id,
                                                      absl::Time deadline) override {
    return StatsOf(job_id, 0, deadline);
  }

  std::vector<ShardStats> GetShardStats(const std::string& job_id, absl::Time deadline) override {
    std::vector<ShardStats> all(shards_.count());
    auto ask = [&](int32_t shard) {
      all[shard] = {.shard = shards_.target(shard), .stats = StatsOf(job_id, shard, deadline)};
      return absl::OkStatus();
    };
    ask(0).IgnoreError();
    shards_.ForOthers(ask).IgnoreError();
    return all;
  }

  absl::StatusOr<v1::ListItemsResponse> ListItems(const v1::ListItemsRequest& request,
                                                  absl::Time deadline) override {
    const std::string& job_id = request.job().job_id();
    v1::ListItemsRequest asked = request;
    SetJob(job_id, 0, asked.mutable_job());
    if (shards_.count() > 1) {  // shard 0 knows the rewards of its own only
      asked.clear_min_reward();
      asked.clear_max_reward();
    }
    DTRPO_ASSIGN_OR_RETURN(
        v1::ListItemsResponse response,
        shards_.Call(0, absl::StrCat("items of job ", job_id), &Stub::ListItems, asked, deadline));
    std::vector<v1::ReplayItem*> items(response.mutable_items()->pointer_begin(),
                                       response.mutable_items()->pointer_end());
    DTRPO_RETURN_IF_ERROR(FillBodies(job_id, items, deadline));
    if (shards_.count() == 1) return response;
    v1::ListItemsResponse wanted;
    wanted.set_next_after_item(response.next_after_item());
    for (v1::ReplayItem& item : *response.mutable_items()) {
      const bool gone = !item.has_pair() && !item.has_group();
      if (gone || !RewardWanted(request, item)) continue;
      if (!request.bodies()) ClearArrays(&item);
      wanted.add_items()->Swap(&item);
    }
    return wanted;
  }

  absl::StatusOr<v1::ReplayItem> GetItem(const std::string& job_id, int64_t item,
                                         absl::Time deadline) override {
    v1::GetItemRequest request;
    SetJob(job_id, 0, request.mutable_job());
    request.set_item(item);
    DTRPO_ASSIGN_OR_RETURN(v1::GetItemResponse response,
                           shards_.Call(0, absl::StrCat("item ", item, " of job ", job_id),
                                        &Stub::GetItem, request, deadline));
    DTRPO_RETURN_IF_ERROR(FillBodies(job_id, {response.mutable_item()}, deadline));
    return std::move(*response.mutable_item());
  }

  std::vector<absl::StatusOr<v1::InsertResponse>> InsertMany(
      const std::string& job_id, const std::vector<v1::InsertRequest>& prompts,
      absl::Time deadline) override {
    return shards_.InsertMany({job_id}, prompts, deadline);
  }

 private:
  // A single store is shown whatever it is: it may be one of several that are asked one by one.
  void SetJob(const std::string& job_id, int32_t shard, v1::JobRef* ref) const {
    shards_.SetJob({job_id}, shard, ref);
    if (shards_.count() == 1) ref->set_shards(0);
  }

  absl::StatusOr<v1::GetReplayStatsResponse> StatsOf(const std::string& job_id, int32_t shard,
                                                     absl::Time deadline) const {
    v1::GetReplayStatsRequest request;
    SetJob(job_id, shard, request.mutable_job());
    return shards_.Call(shard, absl::StrCat("statistics of job ", job_id), &Stub::GetReplayStats,
                        request, deadline);
  }

  // An item that leaves meanwhile stays without a body.
  absl::Status FillBodies(const std::string& job_id, const std::vector<v1::ReplayItem*>& items,
                          absl::Time deadline) const {
    if (shards_.count() == 1) return absl::OkStatus();
    std::vector<ReplayShards::Wanted> elsewhere;
    for (v1::ReplayItem* item : items) {
      if (item->shard() == 0) continue;
      elsewhere.push_back({item->shard(), item->shard_item(), [item](v1::ReplayItem body) {
                             if (body.has_pair()) item->mutable_pair()->Swap(body.mutable_pair());
                             if (body.has_group()) {
                               item->mutable_group()->Swap(body.mutable_group());
                             }
                           }});
    }
    const absl::Status fetched = shards_.Fetch(job_id, /*incarnation=*/0, elsewhere, deadline);
    if (base::GetReason(fetched) != "item_gone") return fetched;
    for (const ReplayShards::Wanted& one : elsewhere) {
      const absl::Status status = shards_.Fetch(job_id, 0, {one}, deadline);
      if (!status.ok() && base::GetReason(status) != "item_gone") return status;
    }
    return absl::OkStatus();
  }

  const ReplayShards shards_;
};

}  // namespace

std::unique_ptr<ReplayViewClient> MakeReplayViewClient(
    const std::shared_ptr<grpc::Channel>& channel, ClientOptions options) {
  return std::make_unique<GrpcReplayViewClient>(
      std::vector<ReplayShards::Shard>{{.channel = channel, .address = ""}}, options);
}

absl::StatusOr<std::unique_ptr<ReplayViewClient>> ConnectReplayView(
    rpc::ChannelFactory& channels, const std::vector<std::string>& addresses,
    ClientOptions options) {
  if (addresses.empty()) return absl::InvalidArgumentError("no replay store is known");
  DTRPO_ASSIGN_OR_RETURN(const auto shards, ConnectShards(channels, addresses));
  return std::make_unique<GrpcReplayViewClient>(shards, options);
}

}  // namespace dtrpo::wire

// Thread safety: clients may be used from many threads at once.
//
// The replay store as those see it who look into it (dtrpoctl). The messages are the protocol's
// own: they are what is shown, written to files and read from them.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/rpc/channel_factory.h"
#include "common/wire/client_options.h"
#include "proto/dtrpo/v1/replay.pb.h"

namespace dtrpo::wire {

struct ShardStats {
  std::string shard;  // "replay shard 1 127.0.0.1:4003"
  absl::StatusOr<v1::GetReplayStatsResponse> stats = absl::UnknownError("not asked");
};

class ReplayViewClient {
 public:
  virtual ~ReplayViewClient() = default;

  virtual absl::StatusOr<v1::ListReplayJobsResponse> ListJobs(absl::Time deadline) = 0;
  virtual absl::StatusOr<v1::GetReplayStatsResponse> GetStats(const std::string& job_id,
                                                              absl::Time deadline) = 0;
  // Of each shard by itself: shard 0 counts all items, the others those whose bodies they keep.
  virtual std::vector<ShardStats> GetShardStats(const std::string& job_id, absl::Time deadline) = 0;
  virtual absl::StatusOr<v1::ListItemsResponse> ListItems(const v1::ListItemsRequest& request,
                                                          absl::Time deadline) = 0;
  virtual absl::StatusOr<v1::ReplayItem> GetItem(const std::string& job_id, int64_t item,
                                                 absl::Time deadline) = 0;
  // See ReplayShards::InsertMany; the prompts' own `job` isn't read.
  virtual std::vector<absl::StatusOr<v1::InsertResponse>> InsertMany(
      const std::string& job_id, const std::vector<v1::InsertRequest>& prompts,
      absl::Time deadline) = 0;
};

std::unique_ptr<ReplayViewClient> MakeReplayViewClient(
    const std::shared_ptr<grpc::Channel>& channel, ClientOptions options);

// `addresses`: of the shards, in their order.
absl::StatusOr<std::unique_ptr<ReplayViewClient>> ConnectReplayView(
    rpc::ChannelFactory& channels, const std::vector<std::string>& addresses,
    ClientOptions options);

}  // namespace dtrpo::wire

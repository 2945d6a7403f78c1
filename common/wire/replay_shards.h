// Thread safety: all methods may be called from many threads at once.
//
// The services that keep the replay store's jobs together, shard 0 first: what the typed clients
// share. How a job is spread over them is in replay.proto. Errors name the shard and its address.
#pragma once

#include <grpcpp/channel.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/rpc/channel_factory.h"
#include "common/wire/client_options.h"
#include "proto/dtrpo/v1/replay.grpc.pb.h"

namespace dtrpo::wire {

// The shard that keeps what is inserted of a prompt. Never changes: it is part of what is stored.
int32_t ShardOfPrompt(absl::string_view job_id, int64_t epoch, int64_t prompt_index,
                      int32_t shards);

class ReplayShards {
 public:
  using Stub = v1::ReplayService::StubInterface;

  struct Shard {
    std::shared_ptr<grpc::Channel> channel;
    std::string address;  // for messages; may be empty
  };
  // REQUIRES: at least one. Their targets are options.target, the shard's number and its address.
  ReplayShards(const std::vector<Shard>& shards, const ClientOptions& options);

  int32_t count() const { return static_cast<int32_t>(shards_.size()); }
  const std::string& target(int32_t shard) const { return shards_[shard].options.target; }

  // REQUIRES: request.job(), if it has one, was set by SetJob for this shard.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(int32_t shard, const std::string& what,
                                grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                                const Request& request, absl::Time deadline) const {
    const Peer& peer = shards_[shard];
    JobAttempt job;
    if constexpr (requires { request.job(); }) {
      job = {request.job().job_id(), request.job().attempt()};
    }
    return CallService(peer.options, what, peer.stub.get(), method, request, job, deadline);
  }
  void SetJob(const JobAttempt& job, int32_t shard, v1::JobRef* ref) const;
  // Calls `call` for each shard but 0, at the same time. The first one's error.
  absl::Status ForOthers(const std::function<absl::Status(int32_t)>& call) const;

  // Begins the job anew where shards lost their part of it, or it is there already.
  absl::Status Open(const std::string& job_id, const v1::ReplayJobOptions& options,
                    absl::Time deadline) const;
  // Of one prompt: its pairs or groups go to its shard, and then what they are to shard 0.
  absl::StatusOr<v1::InsertResponse> Insert(const JobAttempt& job, v1::InsertRequest request,
                                            absl::Time deadline) const;
  // Of several prompts, each stored or refused by itself; the answers are in their order and errors
  // name the prompt. A single store is asked once (REQUIRES: at most 1024, which together fit into
  // a message), several shards for one prompt after the other.
  std::vector<absl::StatusOr<v1::InsertResponse>> InsertMany(
      const JobAttempt& job, const std::vector<v1::InsertRequest>& prompts,
      absl::Time deadline) const;

  // An item that another shard than 0 keeps, and where its body is to go.
  struct Wanted {
    int32_t shard = 0;
    int64_t item = 0;
    std::function<void(v1::ReplayItem)> take;
  };
  // From all shards at the same time. NOT_FOUND "item_gone" when one isn't there any more.
  absl::Status Fetch(const std::string& job_id, int64_t incarnation,
                     const std::vector<Wanted>& wanted, absl::Time deadline) const;

 private:
  struct Peer {
    ClientOptions options;
    std::unique_ptr<Stub> stub;
  };
  std::vector<Peer> shards_;
};

// In the order of `addresses`. INVALID_ARGUMENT for a bad one.
absl::StatusOr<std::vector<ReplayShards::Shard>> ConnectShards(
    rpc::ChannelFactory& channels, const std::vector<std::string>& addresses);

}  // namespace dtrpo::wire
